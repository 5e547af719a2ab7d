"""What each step of a run computes: the payloads of the records, one function a step."""

import functools
import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ltqlib import data as sources
from ltqlib import decouple as stage2
from ltqlib import longtail, metrics, paths
from ltqlib import models as networks
from ltqlib import mpq as allocation
from ltqlib import train as training
from ltqlib.config import RunConfig
from ltqlib.errors import InputError
from ltqlib.models import Network
from ltqlib.progress import Progress
from ltqlib.quantization import SCHEMES, Bits, calibrate, quantize_network
from ltqlib.records import Record, pack, pack_indices, unpack
from ltqlib.sensitivity import one_layer_at_a_time

Parents = dict[str, Record]
Payload = dict[str, Any]
Predictions = npt.NDArray[np.uint8]

_dataset = functools.lru_cache(maxsize=1)(sources.load)


def device_words(device: str) -> dict[str, str]:
    """Device, threads and number format that the step ran with."""
    found = training.find_device(device)
    name = torch.cuda.get_device_name(found) if found.type == "cuda" else found.type
    precision = "bfloat16" if training.has_bf16_units(found) else "float32"
    threads = str(torch.get_num_threads())
    return {"device": name, "threads": threads, "training_precision": precision}


def data(config: RunConfig, parents: Parents, device: str) -> Payload:
    """Which images exactly: counts, index list, test labels, the select half."""
    dataset = _dataset(config.data)
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


def cross_fit(
    chosen_on_select: Predictions, chosen_on_report: Predictions, select: npt.NDArray[np.bool_]
) -> Predictions:
    """Each image's prediction by the model that was chosen without it (N,)."""
    return np.where(select, chosen_on_report, chosen_on_select).astype(np.uint8)


def _class_loss(logits: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> list[float]:
    """Mean cross-entropy of the images of each class, in nats, rounded to 5 digits."""
    value = torch.nn.functional.cross_entropy(
        torch.from_numpy(logits), torch.from_numpy(labels), reduction="none"
    ).numpy()
    return [round(float(value[labels == c].mean()), 5) for c in range(logits.shape[1])]


def ptq(
    config: RunConfig,
    parents: Parents,
    device: str,
    *,
    models: list[str],
    schemes: list[str],
    bits: list[int],
    calibration_images: int,
) -> Payload:
    """Test predictions of every model, scheme and width (the same width in all layers)."""
    dataset = checked_dataset(config, parents["data"])
    _, indices = dataset.long_tailed(config.imbalance_factor, config.class_order)
    drawn = np.random.default_rng(config.seed).permutation(indices)[:calibration_images]
    predictions: dict[str, dict[str, dict[str, str]]] = {}
    with Progress(len(models) * len(schemes) * len(bits), f"ptq {config.label()}") as bar:
        for name in models:
            network = folded(config, parents, device, name)
            samples = calibrate(network, dataset.train_images[drawn])
            for scheme, width in itertools.product(schemes, bits):
                everywhere = dict.fromkeys(
                    networks.quantizable_layers(network), SCHEMES[scheme].bits(width)
                )
                quantized = quantize_network(network, everywhere, SCHEMES[scheme], samples)
                by_scheme = predictions.setdefault(name, {}).setdefault(scheme, {})
                by_scheme[str(width)] = pack(predict(quantized, dataset))
                bar.update(1)
    return {"predictions": predictions}


schemes = ptq  # the same measurement with the other grids, a record of its own


def sensitivity(
    config: RunConfig, parents: Parents, device: str, *, model: str, scheme: str, bits: list[int]
) -> Payload:
    """Which predictions change when one layer's weights are quantized, for each layer and width.

    Stored as ``prediction XOR float prediction``, which is mostly zeros and packs small.
    """
    dataset = checked_dataset(config, parents["data"])
    network = folded(config, parents, device, model)
    reference = predict(network, dataset)
    found = one_layer_at_a_time(
        network,
        dataset.test_images,
        tuple(bits),
        SCHEMES[scheme],
        progress=f"sensitivity {config.label()}",
    )
    return {
        "reference": pack(reference),
        "changes": {
            layer: {str(width): pack(values ^ reference) for width, values in by_width.items()}
            for layer, by_width in found.items()
        },
    }


def mpq(
    config: RunConfig,
    parents: Parents,
    device: str,
    *,
    high: int,
    low: int,
    budgets: list[float],
    random: int,
    random_budget: float,
) -> Payload:
    """The post's mixed precision: two widths, layers ranked on one half of the test images.

    ``allocations[driver][budget]`` holds the widths chosen on each half and the cross-fitted
    predictions; ``random`` the predictions of allocations from random rankings.
    """
    dataset = checked_dataset(config, parents["data"])
    options = parents["sensitivity"]["options"]
    network = folded(config, parents, device, options["model"])
    costs = networks.layer_costs(network, dataset.test_images.shape[1])
    parameters = {name: cost["parameters"] for name, cost in costs.items()}
    select = unpack(parents["data"]["payload"]["select"]).astype(bool)
    rankings = _rankings(config, parents["sensitivity"], dataset.test_labels, select, low)
    scheme = SCHEMES[options["scheme"]]

    @functools.cache
    def outcome(widths: tuple[int, ...]) -> Predictions:
        bit_config = {name: Bits(bits) for name, bits in zip(parameters, widths, strict=True)}
        return predict(quantize_network(network, bit_config, scheme), dataset)

    def allocate(ranking: list[str], budget: float) -> tuple[int, ...]:
        return tuple(allocation.split_by_budget(ranking, parameters, budget, high, low).values())

    driven: dict[str, Any] = {}
    with Progress(len(rankings) * len(budgets) + random, f"mpq {config.label()}") as bar:
        for (driver, halves), budget in itertools.product(rankings.items(), budgets):
            widths = {half: allocate(ranking, budget) for half, ranking in halves.items()}
            fitted = cross_fit(outcome(widths["select"]), outcome(widths["report"]), select)
            found = {"widths": {h: list(w) for h, w in widths.items()}, "predictions": pack(fitted)}
            driven.setdefault(driver, {})[str(budget)] = found
            bar.update(1)
        null = []
        for ranking in allocation.random_rankings(list(parameters), random, config.seed):
            widths_of = allocate(ranking, random_budget)
            null.append({"widths": list(widths_of), "predictions": pack(outcome(widths_of))})
            bar.update(1)
    return {"costs": costs, "rankings": rankings, "allocations": driven, "random": null}


def _rankings(
    config: RunConfig,
    record: Record,
    labels: npt.NDArray[np.int64],
    select: npt.NDArray[np.bool_],
    width: int,
) -> dict[str, dict[str, list[str]]]:
    """``{driver: {half: layers from most to least sensitive at width}}``, measured on that half."""
    groups = longtail.head_and_tail(int(labels.max()) + 1, config.class_order)
    reference = unpack(record["payload"]["reference"])
    rankings: dict[str, dict[str, list[str]]] = {}
    for driver in ("norm", "tail"):
        for name, half in (("select", select), ("report", ~select)):
            left = {
                layer: metrics.group_accuracy(
                    (unpack(changes[str(width)]) ^ reference)[half], labels[half], groups
                )[driver]
                for layer, changes in record["payload"]["changes"].items()
            }
            # the post's Sen_n = Acc(A) - Acc_tail(C_n); the reference does not change the order
            ranking = allocation.rank_by_drop(left, reference=100.0)
            rankings.setdefault(driver, {})[name] = ranking
    return rankings


def checked_dataset(config: RunConfig, record: Record) -> sources.Dataset:
    """The data set, after checking that it is the one the run began with."""
    dataset = _dataset(config.data)
    if dataset.fingerprint() != record["payload"]["fingerprint"]:
        raise InputError(
            f"the images of {config.data} are not those that run {config.digest()} began with: "
            f"bring them back, or delete {paths.runs(config.digest())}"
        )
    return dataset


def baseline(config: RunConfig, parents: Parents, device: str) -> Network:
    """The network of stage 1 from its checkpoint, folded, in eval mode."""
    classes = len(parents["data"]["payload"]["classes"])
    network = networks.build(config, classes)
    digest = parents["train"]["payload"]["checkpoint"]
    networks.load_checkpoint(network, paths.weights(config.digest(), "model.safetensors"), digest)
    return networks.fold_batchnorm(network.to(training.find_device(device)))


def folded(config: RunConfig, parents: Parents, device: str, model: str) -> Network:
    """The float network called ``model`` (``baseline`` or a head of stage 2), folded."""
    network = baseline(config, parents, device)
    if model == "baseline":
        return network
    path = paths.weights(config.digest(), "heads.safetensors")
    tensors = networks.read_tensors(path, parents["decouple"]["payload"]["checkpoint"])
    return stage2.with_head(network, stage2.load_heads(tensors)[model])


def predict(network: Network, dataset: sources.Dataset) -> Predictions:
    """Predicted classes of the test images, (N,)."""
    return networks.predict_logits(network, dataset.test_images).argmax(1).astype(np.uint8)
