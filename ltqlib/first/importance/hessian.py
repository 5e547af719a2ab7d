"""Curvature of each group's loss, layer by layer, from Hessian-vector products."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ltqlib.first.data import Images
from ltqlib.first.errors import InputError
from ltqlib.first.importance.groups import Array, Groups, image_weights
from ltqlib.first.importance.layers import Labels, trainable, weighted_losses, weights_of
from ltqlib.first.models import Network


class Trace(NamedTuple):
    """Estimated traces and their standard errors over probes, both (groups, layers)."""

    trace: Array
    standard_error: Array


class Eigenvalue(NamedTuple):
    """Eigenvalues of largest magnitude and ``||H v - value * v||``, both (groups, layers).

    Some eigenvalue lies within the residual of the value, converged or not.
    """

    value: Array
    residual: Array


def hessian_trace(
    network: Network,
    images: Images,
    labels: Labels,
    groups: Groups,
    layers: Sequence[str] | None = None,
    probes: int = 32,
    seed: int = 0,
    batch: int = 100,
) -> Trace:
    """Trace of each layer's block of the Hessian of each group's mean cross-entropy.

    Hutchinson's estimator ``E[v . H v]`` with Rademacher probes, as HAWQ-v2 (Dong et al., 2020).
    One product serves all layers: the blocks between layers add variance, which the standard error
    holds, and no bias. All groups see the same probes, on every device.

    Raises:
        InputError: fewer than two probes, a class without an image, an unknown layer.
    """
    if probes < 2:
        raise InputError(f"{probes} probe(s) give no standard error: use at least 2")
    weights = trainable(weights_of(network, layers))
    leaves = list(weights.values())
    traces, errors = [], []
    for share in image_weights(labels, groups):
        forms = np.zeros((probes, len(leaves)))
        for loss in weighted_losses(network, weights, images, labels, share, batch):
            gradients = torch.autograd.grad(loss, leaves, create_graph=True)
            for number in range(probes):
                vectors = _rademacher(leaves, seed, number)  # the same in every batch
                products = torch.autograd.grad(gradients, leaves, vectors, retain_graph=True)
                forms[number] += [
                    float((v * p).sum()) for v, p in zip(vectors, products, strict=True)
                ]
        traces.append(forms.mean(axis=0))
        errors.append(forms.std(axis=0, ddof=1) / np.sqrt(probes))
    return Trace(np.array(traces), np.array(errors))


def top_eigenvalue(
    network: Network,
    images: Images,
    labels: Labels,
    groups: Groups,
    layers: Sequence[str] | None = None,
    iterations: int = 50,
    tolerance: float = 1e-3,
    seed: int = 0,
    batch: int = 100,
) -> Eigenvalue:
    """Eigenvalue of largest magnitude of each layer's Hessian block, by power iteration.

    HAWQ's sensitivity before the trace (Dong et al., 2019). Signed: at a loss that is
    not at a minimum it can be negative. Iteration ends when the residual is below ``tolerance``
    times the eigenvalue, or after ``iterations`` products.

    Raises:
        InputError: no iteration, a class without an image, or an unknown layer.
    """
    if iterations < 1:
        raise InputError(f"power iteration takes at least 1 iteration, not {iterations}")
    found = []
    for share in image_weights(labels, groups):
        row = []
        for name, weight in weights_of(network, layers).items():
            leaf = trainable({name: weight})

            def product(
                vector: Tensor, leaf: dict[str, Tensor] = leaf, share: Array = share
            ) -> Tensor:
                total = torch.zeros_like(vector)
                for loss in weighted_losses(network, leaf, images, labels, share, batch):
                    gradient = torch.autograd.grad(loss, list(leaf.values()), create_graph=True)
                    total += torch.autograd.grad(gradient, list(leaf.values()), vector)[0]
                return total

            start = _rademacher([weight], seed, 0)[0]
            row.append(_power_iteration(product, start, iterations, tolerance))
        found.append(row)
    values = np.array(found)
    return Eigenvalue(values[..., 0], values[..., 1])


def _power_iteration(
    product: Callable[[Tensor], Tensor], vector: Tensor, iterations: int, tolerance: float
) -> tuple[float, float]:
    """(Rayleigh quotient, residual) of the last vector tried."""
    value = residual = 0.0
    for _ in range(iterations):
        vector = vector / vector.norm()
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
