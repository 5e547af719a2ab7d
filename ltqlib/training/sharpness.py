"""Sharpness-aware minimization: steps down from the highest point nearby (Foret et al., 2021)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

TINY = 1e-12  # keeps a gradient of zero finite


@contextmanager
def at_highest_neighbour(
    network: nn.Module, parameters: Sequence[nn.Parameter], rho: float
) -> Iterator[None]:
    """While this lasts, the weights are ``w + rho * g / |g|`` (eq. 2 with p = 2).

    The gradient g is what the parameters hold on entering, its norm that of all of them together.
    A gradient computed inside is that of the sharpness-aware loss (eq. 3); the weights come back
    bit for bit. BatchNorm's running statistics stay those of the weights themselves.

    On long tails: Rangwani et al. (NeurIPS 2022), "Escaping saddle points for effective
    generalization on class-imbalanced data"; for CIFAR-10-LT their program takes rho 0.1 with
    plain cross-entropy, 0.5 with deferred re-weighting, 0.8 with LDAM-DRW.
    """
    with torch.no_grad():
        moved: list[Tensor] = [p for p in parameters if p.grad is not None]
        gradients = [p.grad for p in moved if p.grad is not None]
        before = [p.clone() for p in moved]
        norm = torch.stack(torch._foreach_norm(gradients)).norm()
        step: Any = torch._foreach_mul(gradients, rho / (norm + TINY))
        torch._foreach_add_(moved, step)
    try:
        with _statistics_kept(network):
            yield
    finally:
        with torch.no_grad():
            torch._foreach_copy_(moved, before)


@contextmanager
def _statistics_kept(network: nn.Module) -> Iterator[None]:
    """BatchNorms normalize by the batch as before, and do not note its statistics."""
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
