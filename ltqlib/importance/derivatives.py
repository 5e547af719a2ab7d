"""Gradients and curvature: of classes' losses, and of single images."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from torch import Tensor

from ltqlib.errors import InputError
from ltqlib.importance.model import Array, Model, by_class
from ltqlib.importance.noise import Variants, dequantized, table_of
from ltqlib.models.graph import Graph


def fisher(graph: Graph, images: Any, labels: npt.ArrayLike) -> xr.DataArray:
    """Trace of the empirical Fisher information of each layer's weight, (class, layer).

    The mean over a class's images of ``||d cross-entropy / d w||**2``, with the true label (not
    one drawn from the model, which would be the Fisher information itself; Kunstner et al.,
    NeurIPS 2019). Times the noise of quantization it is FIT, see
    :func:`ltqlib.importance.perturbation`.

    Args:
        images: as ``Graph.pixels`` takes them; labels: (N,).

    Raises:
        InputError: no image, or labels that do not fit.
    """
    model = Model(graph, images, labels, batch=1)  # as fast as vmap, and any operator works
    rows = []
    for image in range(len(model.labels)):
        gradients = torch.autograd.grad(model.loss(np.array([image])), model.leaves)
        rows.append([float(g.double().square().sum()) for g in gradients])
    found = xr.DataArray(np.array(rows), {"layer": model.layers}, ("image", "layer"))
    return by_class(found, model.labels)


def taylor(
    graph: Graph, images: Any, labels: npt.ArrayLike, variants: Variants, batch: int = 250
) -> xr.DataArray:
    """First-order loss increase ``g . (Q(w) - w)`` in nats, signed, (class, layer, bits).

    ``g`` is the gradient of the class's mean cross-entropy. The first term of the Taylor expansion
    (Molchanov et al., CVPR 2019, with the noise of quantization in the place of a removed weight).

    Raises:
        InputError: no image, labels that do not fit, or layers with different widths.
    """
    layers, bits = table_of(graph, variants)
    model = Model(graph, images, labels, batch)
    rows = []
    for label in model.classes:
        gradients = [torch.zeros_like(w) for w in model.leaves]
        for loss in model.losses(label):
            for total, part in zip(gradients, torch.autograd.grad(loss, model.leaves), strict=True):
                total += part
        pairs = zip(variants.items(), gradients, strict=True)
        rows.append([_products(graph, layer, gradient) for layer, gradient in pairs])
    coords = {"class": model.classes, "layer": layers, "bits": bits}
    return xr.DataArray(np.array(rows), coords, ("class", "layer", "bits"))


def _products(graph: Graph, layer: tuple[str, Any], gradient: Tensor) -> list[float]:
    """``g . (Q(w) - w)`` of one layer at each width."""
    name, by_width = layer
    noise = [dequantized(graph, name, each) - graph.weight(name) for each in by_width.values()]
    return [float((gradient.double() * change).sum()) for change in noise]


def hessian_trace(
    graph: Graph,
    images: Any,
    labels: npt.ArrayLike,
    probes: int = 32,
    seed: int = 0,
    batch: int = 100,
) -> xr.Dataset:
    """Trace of each layer's block of the Hessian of each class's mean cross-entropy.

    Hutchinson's estimator ``E[v . H v]`` with Rademacher probes, as HAWQ-v2 (Dong et al., NeurIPS
    2020). One product serves all layers: the blocks between layers add variance, which the
    standard error holds, and no bias. All classes see the same probes, on every device.

    Args:
        images: as ``Graph.pixels`` takes them; labels: (N,).

    Returns:
        ``trace`` and its ``standard_error`` over probes, both (class, layer).

    Raises:
        InputError: fewer than two probes, no image, or labels that do not fit.
    """
    if probes < 2:
        raise InputError(f"{probes} probe(s) give no standard error: use at least 2")
    model = Model(graph, images, labels, batch)
    forms = np.stack([_quadratic_forms(model, label, probes, seed) for label in model.classes])
    error = forms.std(axis=1, ddof=1) / np.sqrt(probes)
    coords = {"class": model.classes, "layer": model.layers}
    found = {"trace": forms.mean(axis=1), "standard_error": error}
    return xr.Dataset({name: (("class", "layer"), v) for name, v in found.items()}, coords)


def _quadratic_forms(model: Model, label: int, probes: int, seed: int) -> Array:
    """``v . H v`` of each probe and layer, (probes, layers)."""
    forms = np.zeros((probes, len(model.leaves)))
    for loss in model.losses(label):
        gradients = torch.autograd.grad(loss, model.leaves, create_graph=True)
        for number in range(probes):
            vectors = _rademacher(model.leaves, seed, number)  # the same in every batch
            products = torch.autograd.grad(gradients, model.leaves, vectors, retain_graph=True)
            forms[number] += [float((v * p).sum()) for v, p in zip(vectors, products, strict=True)]
    return forms


def _rademacher(like: list[Tensor], seed: int, number: int) -> list[Tensor]:
    """Vectors of independent signs; they depend on (seed, number) alone, not on the device."""
    generator = torch.Generator().manual_seed(seed * 100_003 + number)
    return [(torch.randint(0, 2, tuple(w.shape), generator=generator) * 2 - 1).to(w) for w in like]
