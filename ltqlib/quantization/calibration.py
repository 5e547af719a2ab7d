"""Ranges for grids: min-max, percentile, and the clip with the least squared error."""

import torch
from torch import Tensor

from ltqlib.errors import InputError
from ltqlib.quantization.grids import choose_qparams, fake_quantize

RANGES = ("min-max", "percentile", "mse")
PERCENTILE = 99.9  # of |x| on each side
MSE_FRACTIONS = 64  # clips tried, from the whole range downwards


def choose_range(x: Tensor, method: str, bits: int, symmetric: bool) -> tuple[Tensor, Tensor]:
    """(low, high) of each row of ``x``.

    Args:
        x: (rows, values): one row for a grid a tensor, C rows for a grid a channel.
        method: ``min-max``; ``percentile`` clips 0.1 % on each side (percentile calibration, Wu et
            al., 2020, "Integer quantization for deep learning inference", section 3.3); ``mse``
            tries 64 fractions of the range and keeps the one with the least squared error at
            ``bits`` (Nagel et al., 2021, "A white paper on neural network quantization", eq. 10).

    Returns:
        two tensors of shape (rows,).
    """
    if method == "min-max":
        return x.amin(1), x.amax(1)
    if method == "percentile":
        return _percentile(x)
    if method == "mse":
        return _least_error(x, bits, symmetric)
    raise InputError(f"range {method!r} is unknown: use one of {', '.join(RANGES)}")


def _percentile(x: Tensor) -> tuple[Tensor, Tensor]:
    """Order statistics at 0.1 % and 99.9 % (torch.quantile refuses large inputs)."""
    count = x.shape[1]
    cut = max(1, round(count * (1 - PERCENTILE / 100)))
    return x.kthvalue(cut, 1).values, x.kthvalue(count + 1 - cut, 1).values


def _least_error(x: Tensor, bits: int, symmetric: bool) -> tuple[Tensor, Tensor]:
    low, high = x.amin(1), x.amax(1)
    best = torch.full_like(low, torch.inf)
    best_low, best_high = low.clone(), high.clone()
    for step in range(MSE_FRACTIONS):
        share = 1 - step / MSE_FRACTIONS
        grid = choose_qparams(low * share, high * share, bits, symmetric)
        error = (fake_quantize(x, grid) - x).square().mean(1)
        better = error < best
        best = torch.where(better, error, best)
        best_low = torch.where(better, low * share, best_low)
        best_high = torch.where(better, high * share, best_high)
    return best_low, best_high
