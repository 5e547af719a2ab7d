"""First order: gradients of classes' losses and of single images."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
import xarray as xr
from torch import Tensor

from ltqlib.errors import InputError
from ltqlib.importance.groups import Groups, image_shares, mean_of
from ltqlib.importance.model import Array, Model, leaves_of
from ltqlib.importance.noise import Variants, dequantized, perturbation, table_of
from ltqlib.models.graph import Graph

MEASURES = ("gradient", "grape")


def fisher(
    graph: Graph,
    images: Any,
    labels: npt.ArrayLike,
    groups: Groups | None = None,
    layers: Sequence[str] | None = None,
) -> xr.DataArray:
    """Trace of the empirical Fisher information of each layer's weight, (class, layer).

    The mean over a class's images of ``||d cross-entropy / d w||**2``, with the true label (not
    one drawn from the model, which would be the Fisher information itself; Kunstner et al.,
    NeurIPS 2019).

    Args:
        images: as ``Graph.pixels`` takes them; labels: (N,).
        groups: name -> classes, for means over the classes of a group instead, (group, layer).
        layers: their names; left out, all.

    Raises:
        InputError: a class without an image, an unknown layer, labels that do not fit.
    """
    shares = image_shares(labels, groups)
    model = Model(graph, images, labels, layers, batch=1)  # as fast as vmap, and any operator works
    weights = leaves_of(model.weights)
    rows = []
    for pixels, target in model.batches():
        loss = F.cross_entropy(model.logits(weights, pixels), target)
        gradients = torch.autograd.grad(loss, list(weights.values()))
        rows.append([float(g.double().square().sum()) for g in gradients])
    found = xr.DataArray(np.array(rows), {"layer": model.layers}, ("image", "layer"))
    return mean_of(found, shares)


def fit(
    graph: Graph,
    images: Any,
    labels: npt.ArrayLike,
    variants: Variants,
    groups: Groups | None = None,
) -> xr.DataArray:
    """FIT of weights: Fisher trace times mean squared noise, (class, layer, bits).

    Zandonati et al., ICLR 2023; one term a layer: FIT of a bit configuration is the sum of its
    layers' terms. Arguments and errors as :func:`fisher`, layers and widths those of ``variants``.
    """
    trace = fisher(graph, images, labels, groups, list(variants))
    return perturbation(trace, graph, variants)


def gradient_importance(
    graph: Graph,
    images: Any,
    labels: npt.ArrayLike,
    groups: Groups | None = None,
    measure: str = "gradient",
    layers: Sequence[str] | None = None,
    batch: int = 250,
) -> xr.DataArray:
    """Mean over a layer's weights of ``|g|`` or ``(g * w)**2``, (class, layer).

    ``g`` is the gradient of the class's mean cross-entropy. FairQuant (Woergaard and Selvan, 2026)
    sums the measures of mini-batches; here ``g`` is of all images, so no batch size enters.

    Args:
        measure: ``gradient``, ``|g|``; ``grape``, ``(g * w)**2`` (FairGRAPE: Lin et al., ECCV
            2022).

    Raises:
        InputError: an unknown measure or layer, or a class without an image.
    """
    if measure not in MEASURES:
        raise InputError(f"importance {measure!r} is unknown: use one of {', '.join(MEASURES)}")
    shares = image_shares(labels, groups)
    model = Model(graph, images, labels, layers, batch)

    def value(g: Tensor, w: Tensor) -> float:
        each = g.double().abs() if measure == "gradient" else (g.double() * w).square()
        return float(each.mean())

    rows = [
        [value(g, w) for g, w in zip(gradients, model.weights.values(), strict=True)]
        for gradients in _class_gradients(model, shares)
    ]
    return _by_class(rows, shares, {"layer": model.layers})


def taylor(
    graph: Graph,
    images: Any,
    labels: npt.ArrayLike,
    variants: Variants,
    groups: Groups | None = None,
    batch: int = 250,
) -> xr.DataArray:
    """First-order loss increase ``g . (Q(w) - w)`` in nats, signed, (class, layer, bits).

    The first term of the Taylor expansion (Molchanov et al., CVPR 2019, with the noise of
    quantization in the place of a removed weight). Errors as :func:`gradient_importance`.
    """
    layers, bits = table_of(graph, variants)
    shares = image_shares(labels, groups)
    model = Model(graph, images, labels, layers, batch)
    noise = [
        [dequantized(graph, name, variant) - graph.weight(name) for variant in row.values()]
        for name, row in variants.items()
    ]
    rows = [
        [
            [float((g.double() * change).sum()) for change in changes]
            for g, changes in zip(gradients, noise, strict=True)
        ]
        for gradients in _class_gradients(model, shares)
    ]
    return _by_class(rows, shares, {"layer": layers, "bits": bits})


def _class_gradients(model: Model, shares: xr.DataArray) -> Iterator[list[Tensor]]:
    """Class by class, the gradient of its mean loss to each layer's weight."""
    weights = leaves_of(model.weights)
    leaves = list(weights.values())
    for share in shares.values:
        total = [torch.zeros_like(w) for w in leaves]
        for loss in model.losses(weights, share):
            for sum_, part in zip(total, torch.autograd.grad(loss, leaves), strict=True):
                sum_ += part
        yield total


def _by_class(rows: Any, shares: xr.DataArray, coords: dict[str, list]) -> xr.DataArray:
    dim = str(shares.dims[0])
    values: Array = np.array(rows)
    return xr.DataArray(values, {dim: shares[dim].values, **coords}, (dim, *coords))
