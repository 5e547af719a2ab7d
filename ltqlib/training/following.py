"""What is read off a network along its training: what might explain how it bears few bits."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ltqlib.data.batches import in_order
from ltqlib.models import Network, layer_names
from ltqlib.training.holdout import Part

IMAGES_A_CLASS = 200  # at most, of the training images, for margins and losses


@dataclass(frozen=True)
class Snapshot:
    """A network on its way.

    Attributes:
        passes: over the training images, so far.
        network: in eval mode and at float16 precision, as a training stopped here returns it.
        average: the averaged network (``ema`` or ``swa``), likewise; None where there is none.
        quantities: of ``network``, see :func:`quantities`; those of ``average`` under that name.
    """

    passes: int
    network: Network
    average: Network | None
    quantities: dict[str, Any]


@dataclass(frozen=True)
class Follow:
    """Which passes to look at, and who wants the networks.

    Attributes:
        passes: numbers of passes, from 1 on; those beyond the last one are never reached.
        keep: called with each snapshot in turn. A training that was interrupted may repeat the
            last one, never leave one out.
    """

    passes: tuple[int, ...]
    keep: Callable[[Snapshot], None] = lambda snapshot: None


def quantities(
    network: Network, part: Part, groups: Mapping[str, Sequence[int]]
) -> dict[str, dict[str, Any]]:
    """Of weights and of training images, as plain JSON values.

    * ``layers``: for each, of the weights with BatchNorm folded in: ``minimum``, ``maximum``,
      ``std``, ``max_over_std`` (largest magnitude over standard deviation) and ``kurtosis``
      (fourth standardized moment; 3 for a normal distribution).
    * ``row_norms``: Euclidean norm of the classifier's row, by class label.
    * ``images``: for each group, of up to 200 training images a class without augmentation: mean
      ``loss`` (cross-entropy, nats), ``accuracy`` (percent), mean ``margin`` (logit of the label
      less the largest other one) and its 10 % quantile ``margin_low``.
    """
    norms = network.classifier.weight.detach().norm(dim=1)
    return {
        "layers": {name: _shape(weight) for name, weight in folded_weights(network).items()},
        "row_norms": {str(label): round(float(norm), 5) for label, norm in enumerate(norms)},
        "images": _of_images(network, part, groups),
    }


@torch.no_grad()
def folded_weights(network: Network) -> dict[str, Tensor]:
    """Weights by layer (L1, L2, ...) in float64, times the gain of the BatchNorm behind them.

    ``w * gamma / sqrt(var + eps)``, what is quantized (Jacob et al., 2018, section 3.2).
    """
    folded = {}
    for path, name in layer_names(network).items():
        weight = network.get_parameter(f"{path}.weight").double()
        norm = getattr(network.get_submodule(path.rpartition(".")[0]), "norm", None)
        if norm is not None:
            gain = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
            weight = weight * gain[:, None, None, None]
        folded[name] = weight
    return folded


def _shape(weight: Tensor) -> dict[str, float]:
    """Range and moments of the entries of a weight."""
    standard = (weight - weight.mean()) / weight.std(correction=0)
    values = {
        "minimum": weight.min(),
        "maximum": weight.max(),
        "std": weight.std(correction=0),
        "max_over_std": weight.abs().max() / weight.std(correction=0),
        "kurtosis": (standard**4).mean(),
    }
    return {name: float(f"{float(value):.6g}") for name, value in values.items()}


@torch.no_grad()
def _of_images(
    network: Network, part: Part, groups: Mapping[str, Sequence[int]]
) -> dict[str, dict[str, float]]:
    members = [np.flatnonzero(part.labels == c)[:IMAGES_A_CLASS] for c in range(len(part.counts))]
    chosen = np.concatenate(members)
    device = network.classifier.weight.device
    logits = torch.cat([network(p).cpu() for p in in_order(part.images[chosen], 500, device)])
    labels = torch.from_numpy(part.labels[chosen])
    own = logits.gather(1, labels[:, None])[:, 0]
    others = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
    loss, margin = F.cross_entropy(logits, labels, reduction="none"), own - others
    found = {}
    for name, classes in groups.items():
        mine = torch.isin(labels, torch.tensor(list(classes)))
        values = {
            "loss": loss[mine].mean(),
            "accuracy": 100 * (margin[mine] > 0).double().mean(),
            "margin": margin[mine].mean(),
            "margin_low": margin[mine].quantile(0.1),
        }
        found[name] = {key: round(float(value), 5) for key, value in values.items()}
    return found
