"""Second order: curvature of each class's loss, layer by layer, from Hessian-vector products."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from torch import Tensor

from ltqlib.errors import InputError
from ltqlib.importance.groups import Groups, image_shares
from ltqlib.importance.model import Array, Model, leaves_of
from ltqlib.models.graph import Graph


def hessian_trace(
    graph: Graph,
    images: Any,
    labels: npt.ArrayLike,
    groups: Groups | None = None,
    layers: Sequence[str] | None = None,
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
        groups: name -> classes, for means over the classes of a group instead.
        layers: their names; left out, all.

    Returns:
        ``trace`` and its ``standard_error`` over probes, both (class, layer).

    Raises:
        InputError: fewer than two probes, a class without an image, an unknown layer.
    """
    if probes < 2:
        raise InputError(f"{probes} probe(s) give no standard error: use at least 2")
    shares = image_shares(labels, groups)
    model = Model(graph, images, labels, layers, batch)
    forms = np.stack([_quadratic_forms(model, share, probes, seed) for share in shares.values])
    error = forms.std(axis=1, ddof=1) / np.sqrt(probes)
    return _dataset(shares, model, trace=forms.mean(axis=1), standard_error=error)


def _quadratic_forms(model: Model, share: Array, probes: int, seed: int) -> Array:
    """``v . H v`` of each probe and layer, (probes, layers)."""
    weights = leaves_of(model.weights)
    leaves = list(weights.values())
    forms = np.zeros((probes, len(leaves)))
    for loss in model.losses(weights, share):
        gradients = torch.autograd.grad(loss, leaves, create_graph=True)
        for number in range(probes):
            vectors = _rademacher(leaves, seed, number)  # the same in every batch
            products = torch.autograd.grad(gradients, leaves, vectors, retain_graph=True)
            forms[number] += [float((v * p).sum()) for v, p in zip(vectors, products, strict=True)]
    return forms


def top_eigenvalue(
    graph: Graph,
    images: Any,
    labels: npt.ArrayLike,
    groups: Groups | None = None,
    layers: Sequence[str] | None = None,
    iterations: int = 50,
    tolerance: float = 1e-3,
    seed: int = 0,
    batch: int = 100,
) -> xr.Dataset:
    """Eigenvalue of largest magnitude of each layer's Hessian block, by power iteration.

    HAWQ's sensitivity before the trace (Dong et al., ICCV 2019). Signed: at a loss that is not at a
    minimum it can be negative. Iteration ends when the residual is below ``tolerance`` times the
    eigenvalue, or after ``iterations`` products.

    Returns:
        ``value`` and ``residual``, ``||H v - value * v||``, both (class, layer): some eigenvalue
        lies within the residual of the value, converged or not.

    Raises:
        InputError: no iteration, a class without an image, or an unknown layer.
    """
    if iterations < 1:
        raise InputError(f"power iteration takes at least 1 iteration, not {iterations}")
    shares = image_shares(labels, groups)
    model = Model(graph, images, labels, layers, batch)
    found = np.array(
        [
            [
                _power_iteration(
                    _product(model, name, share),
                    _rademacher([weight], seed, 0)[0],
                    iterations,
                    tolerance,
                )
                for name, weight in model.weights.items()
            ]
            for share in shares.values
        ]
    )
    return _dataset(shares, model, value=found[..., 0], residual=found[..., 1])


def _product(model: Model, name: str, share: Array) -> Callable[[Tensor], Tensor]:
    """``v -> H v`` of one layer's block of a class's loss."""
    weights = leaves_of({name: model.weights[name]})
    leaves = list(weights.values())

    def product(vector: Tensor) -> Tensor:
        total = torch.zeros_like(vector)
        for loss in model.losses(weights, share):
            gradient = torch.autograd.grad(loss, leaves, create_graph=True)
            total += torch.autograd.grad(gradient, leaves, vector)[0]
        return total

    return product


def _power_iteration(
    product: Callable[[Tensor], Tensor], vector: Tensor, iterations: int, tolerance: float
) -> tuple[float, float]:
    """(Rayleigh quotient, residual) of the last vector tried."""
    value = residual = 0.0
    for _ in range(iterations):
        norm = vector.norm()
        if not norm > 0:  # the Hessian is zero there
            return 0.0, 0.0
        vector = vector / norm
        image = product(vector)
        value = float((vector * image).sum())
        residual = float((image - value * vector).norm())
        if residual <= tolerance * abs(value):
            break
        vector = image
    return value, residual


def _rademacher(like: Sequence[Tensor], seed: int, number: int) -> list[Tensor]:
    """Vectors of independent signs; they depend on (seed, number) alone, not on the device."""
    generator = torch.Generator().manual_seed(seed * 100_003 + number)
    return [(torch.randint(0, 2, tuple(w.shape), generator=generator) * 2 - 1).to(w) for w in like]


def _dataset(shares: xr.DataArray, model: Model, **values: Array) -> xr.Dataset:
    dim = str(shares.dims[0])
    coords = {dim: shares[dim].values, "layer": model.layers}
    return xr.Dataset({name: ((dim, "layer"), v) for name, v in values.items()}, coords)
