"""Importances from the gradient of each group's loss, and ways to reduce them over groups."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from ltqlib.first.data import Images
from ltqlib.first.errors import InputError
from ltqlib.first.importance.groups import Array, Groups, image_weights
from ltqlib.first.importance.layers import Labels, trainable, weighted_losses, weights_of
from ltqlib.first.models import Network
from ltqlib.first.quantization.ptq import Scheme, quantized_weight

MEASURES = ("gradient", "grape")
REDUCERS = ("max", "mean", "cvar", "balanced")
SMALLEST_SHARE = 1e-8  # a group with no importance at all does not divide by zero


def gradient_importance(
    network: Network,
    images: Images,
    labels: Labels,
    groups: Groups,
    measure: str = "gradient",
    layers: Sequence[str] | None = None,
    batch: int = 250,
) -> Array:
    """Mean over a layer's weights of ``|g|`` or ``(g * w)**2``, (groups, layers).

    ``g`` is the gradient of the group's mean cross-entropy. FairQuant (Woergaard and Selvan, 2026)
    sums the measures of mini-batches; here ``g`` is of all images, so no batch size enters.

    Args:
        measure: ``gradient``, ``|g|``; ``grape``, ``(g * w)**2`` (Lin et al., 2022, FairGRAPE).

    Raises:
        InputError: an unknown measure or layer, or a class without an image.
    """
    if measure not in MEASURES:
        raise InputError(f"importance {measure!r} is unknown: use one of {', '.join(MEASURES)}")
    weights = list(weights_of(network, layers).values())
    rows = []
    for gradients in _group_gradients(network, images, labels, groups, layers, batch):
        pairs = zip(gradients, weights, strict=True)
        if measure == "gradient":
            rows.append([float(g.double().abs().mean()) for g, _ in pairs])
        else:
            rows.append([float((g.double() * w).square().mean()) for g, w in pairs])
    return np.array(rows)


def taylor(
    network: Network,
    images: Images,
    labels: Labels,
    widths: Sequence[int],
    scheme: Scheme,
    groups: Groups,
    layers: Sequence[str] | None = None,
    batch: int = 250,
) -> Array:
    """First-order loss increase ``g . (Q(w) - w)`` in nats, signed, (groups, layers, widths).

    The first term of the Taylor expansion (Molchanov et al., 2019, with the noise of
    quantization in the place of a removed weight). Errors as :func:`gradient_importance`.
    """
    weights = list(weights_of(network, layers).values())
    noise = [[quantized_weight(w, bits, scheme) - w for bits in widths] for w in weights]
    return np.array(
        [
            [
                [float((g.double() * change).sum()) for change in changes]
                for g, changes in zip(gradients, noise, strict=True)
            ]
            for gradients in _group_gradients(network, images, labels, groups, layers, batch)
        ]
    )


def _group_gradients(
    network: Network,
    images: Images,
    labels: Labels,
    groups: Groups,
    layers: Sequence[str] | None,
    batch: int,
) -> Iterator[list[Tensor]]:
    """Group by group, the gradient of its mean loss to each layer's weight."""
    weights = trainable(weights_of(network, layers))
    leaves = list(weights.values())
    for share in image_weights(labels, groups):
        total = [torch.zeros_like(w) for w in leaves]
        for loss in weighted_losses(network, weights, images, labels, share, batch):
            for sum_, part in zip(total, torch.autograd.grad(loss, leaves), strict=True):
                sum_ += part
        yield total


def reduce_groups(scores: Array, reducer: str, alpha: float = 0.9) -> Array:
    """One score from the scores of groups, (groups, ...) to (...), as FairQuant reduces.

    * ``max``, ``mean``: of the groups.
    * ``cvar``: mean of the ``ceil((1 - alpha) * groups)`` largest; alpha 0 is the mean. FairQuant
      writes its alpha in the same place with 0.1 as the default, which averages nearly all groups.
    * ``balanced``: each group divided by its share of all importance, then the largest. It is
      meant for importances: scores must not be negative.

    FairQuant reduces weight by weight and then takes the layer's mean; here the layers' scores are
    reduced, which is the same for ``mean`` only.

    Raises:
        InputError: an unknown reducer, alpha outside [0, 1), scores not finite, or negative scores
            with ``balanced``.
    """
    if reducer not in REDUCERS:
        raise InputError(f"reducer {reducer!r} is unknown: use one of {', '.join(REDUCERS)}")
    if not np.isfinite(scores).all():
        raise InputError("a group has a score that is not a finite number: leave the group out")
    if reducer == "max":
        return scores.max(axis=0)
    if reducer == "mean":
        return scores.mean(axis=0)
    if reducer == "balanced":
        return _balanced(scores)
    if not 0 <= alpha < 1:
        raise InputError(f"cvar takes alpha from 0 to below 1, not {alpha:g}")
    worst = max(1, math.ceil((1 - alpha) * len(scores) - 1e-9))  # 0.3 * 10 is a little above 3
    return np.sort(scores, axis=0)[-worst:].mean(axis=0)


def _balanced(scores: Array) -> Array:
    if (scores < 0).any():
        raise InputError("the balanced reducer takes no negative scores: use max, mean or cvar")
    totals = scores.reshape(len(scores), -1).sum(axis=1)
    if totals.sum() == 0:
        return scores.max(axis=0)
    shares = np.maximum(totals / totals.sum(), SMALLEST_SHARE)
    return (scores / shares.reshape(-1, *[1] * (scores.ndim - 1))).max(axis=0)
