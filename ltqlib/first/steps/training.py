"""The steps that make models: data, train, decouple."""

import numpy as np
import numpy.typing as npt
import torch

from ltqlib.first import decouple as stage2
from ltqlib.first import longtail, metrics, paths
from ltqlib.first import models as networks
from ltqlib.first import train as training
from ltqlib.first.config import RunConfig
from ltqlib.first.models import Network
from ltqlib.first.records import pack, pack_indices, unpack
from ltqlib.first.steps.common import (
    Parents,
    Payload,
    Predictions,
    baseline,
    checked_dataset,
    cross_fit,
    load,
)


def data(config: RunConfig, parents: Parents, device: str) -> Payload:
    """Which images exactly: counts, index list, test labels, the select half."""
    dataset = load(config.data)
    counts, indices = dataset.long_tailed(config.imbalance_factor, config.class_order)
    return {
        "source": dataset.source,
        "note": dataset.note,
        "fingerprint": dataset.fingerprint(),
        "classes": list(dataset.classes),
        "counts": counts,
        "train_indices": pack_indices(indices),
        "test_labels": pack(dataset.test_labels),
        "select": pack(longtail.select_mask(dataset.test_labels)),
    }


def train(config: RunConfig, parents: Parents, device: str) -> Payload:
    """Stage 1; the checkpoint lies beside the record."""
    dataset = checked_dataset(config, parents["data"])
    folder = paths.runs(config.digest())
    resume = folder / "train-state.safetensors"
    network, payload = training.train(config, dataset, training.find_device(device), resume)
    payload["checkpoint"] = networks.save_checkpoint(network, folder / "model.safetensors")
    payload["parameters"] = int(np.sum([p.numel() for p in network.parameters()]))
    resume.unlink(missing_ok=True)
    return payload


def decouple(config: RunConfig, parents: Parents, device: str) -> Payload:
    """Stage 2: every method's classifier, and the test predictions of every float model."""
    dataset = checked_dataset(config, parents["data"])
    network = baseline(config, parents, device)
    _, indices = dataset.long_tailed(config.imbalance_factor, config.class_order)
    heads = stage2.retrain(config, dataset, network, training.find_device(device))
    heads["ncm"] = stage2.nearest_class_mean(
        network, dataset.train_images[indices], dataset.train_labels[indices]
    )
    features = stage2.extract_features(network, dataset.test_images)
    logits = _float_logits(network, features, heads, parents["data"]["payload"]["counts"])
    select = unpack(parents["data"]["payload"]["select"]).astype(bool)
    chosen, by_tau = _cross_fitted_tau(network, features, dataset.test_labels, select)
    found = {name: values.argmax(1) for name, values in logits.items()} | {"tau": by_tau}
    flat = {f"{name}.{part}": t for name, head in heads.items() for part, t in head.items()}
    path = paths.runs(config.digest()) / "heads.safetensors"
    return {
        "checkpoint": networks.write_tensors(flat, path),
        "predictions": {name: pack(values) for name, values in found.items()},
        "class_loss": {
            name: _class_loss(values, dataset.test_labels) for name, values in logits.items()
        },
        "tau": chosen,
    }


@torch.inference_mode()
def _float_logits(
    network: Network, features: torch.Tensor, heads: dict[str, stage2.Head], counts: list[int]
) -> dict[str, npt.NDArray[np.float32]]:
    """Test logits (N, classes) of every float model, from the features (N, F)."""
    logits = {"baseline": network.classifier(features)}
    prior = torch.tensor(counts, device=features.device) / sum(counts)
    logits["logit-adjusted"] = logits["baseline"] - prior.log()  # Menon et al. (2021), tau 1
    for name, head in heads.items():
        logits[name] = torch.nn.functional.linear(features, head["weight"], head["bias"])
    return {name: values.cpu().numpy() for name, values in logits.items()}


def _cross_fitted_tau(
    network: Network,
    features: torch.Tensor,
    labels: npt.NDArray[np.int64],
    select: npt.NDArray[np.bool_],
) -> tuple[dict[str, float], Predictions]:
    """tau chosen by mean class accuracy on one half predicts the other; then the halves swap."""
    tried: dict[float, Predictions] = {}
    for tau in stage2.TAUS:
        head = stage2.tau_normalized(network, tau)
        tried[tau] = (features @ head["weight"].T).argmax(1).cpu().numpy().astype(np.uint8)
    classes = int(labels.max()) + 1

    def score(tau: float, half: npt.NDArray[np.bool_]) -> float:
        return float(metrics.per_class_accuracy(tried[tau][half], labels[half], classes).mean())

    chosen = {
        "select": max(tried, key=lambda tau: score(tau, select)),
        "report": max(tried, key=lambda tau: score(tau, ~select)),
    }
    return chosen, cross_fit(tried[chosen["select"]], tried[chosen["report"]], select)


def _class_loss(logits: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> list[float]:
    """Mean cross-entropy of the images of each class, in nats, rounded to 5 digits."""
    value = torch.nn.functional.cross_entropy(
        torch.from_numpy(logits), torch.from_numpy(labels), reduction="none"
    ).numpy()
    return [round(float(value[labels == c].mean()), 5) for c in range(logits.shape[1])]
