"""The uniform grid in three steps: choose qparams, quantize, dequantize.

``q = clamp(round(x / scale) + zero_point, quant_min, quant_max)`` and back
``x' = (q - zero_point) * scale`` (Jacob et al., 2018, eq. 1). Rounding is half to even, as in
torch's fake-quantize operators, which :func:`fake_quantize` calls.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ltqlib.errors import InputError

MIN_BITS, MAX_BITS = 2, 8
TINY = torch.finfo(torch.float32).tiny


@dataclass(frozen=True)
class QParams:
    """Parameters of a uniform grid.

    ``scale`` (float32) and ``zero_point`` (int32) have shape () for one grid a tensor, or (C,) for
    one grid a slice along dimension 0.
    """

    scale: Tensor
    zero_point: Tensor
    quant_min: int
    quant_max: int

    @property
    def bits(self) -> int:
        """The width that numbers all levels: 4 for -7 .. 7 and for 0 .. 15."""
        return (self.quant_max - self.quant_min).bit_length()

    @property
    def symmetric(self) -> bool:
        """As many levels below zero as above it, and zero_point 0."""
        return self.quant_min == -self.quant_max

    @property
    def per_channel(self) -> bool:
        """One grid a slice along dimension 0, not one a tensor."""
        return self.scale.ndim > 0

    @property
    def nbytes(self) -> int:
        """Bytes to store it: four a scale, and one a zero point unless symmetric."""
        return self.scale.numel() * (4 if self.symmetric else 5)

    def to(self, device: torch.device | str) -> "QParams":
        """The same grid with its tensors on ``device``."""
        scale, zero_point = self.scale.to(device), self.zero_point.to(device)
        return QParams(scale, zero_point, self.quant_min, self.quant_max)


def quant_range(bits: int, symmetric: bool) -> tuple[int, int]:
    """(quant_min, quant_max): ``±(2**(b-1) - 1)`` when symmetric, else ``0 .. 2**b - 1``."""
    if not MIN_BITS <= bits <= MAX_BITS:
        raise InputError(f"{bits} bits: uniform quantization here takes {MIN_BITS} to {MAX_BITS}")
    if symmetric:
        return -(2 ** (bits - 1) - 1), 2 ** (bits - 1) - 1
    return 0, 2**bits - 1


def choose_qparams(low: Tensor, high: Tensor, bits: int, symmetric: bool) -> QParams:
    """The grid that covers ``[low, high]``; the range is widened to hold zero, which is exact.

    Args:
        low, high: range of the values, both of shape () or (C,).
        bits: 2..8.
        symmetric: zero_point 0 and as many levels below zero as above it.

    Raises:
        InputError: bits outside 2..8.
    """
    quant_min, quant_max = quant_range(bits, symmetric)
    low, high = low.clamp(max=0).float(), high.clamp(min=0).float()
    if symmetric:
        scale = (torch.maximum(-low, high) / quant_max).clamp(min=TINY)
        zero_point = torch.zeros_like(scale, dtype=torch.int32)
        return QParams(scale, zero_point, quant_min, quant_max)
    scale = ((high - low) / (quant_max - quant_min)).clamp(min=TINY)
    zero_point = torch.round(-low / scale).clamp(quant_min, quant_max).to(torch.int32)
    return QParams(scale, zero_point, quant_min, quant_max)


def _per_slice(values: Tensor, like: Tensor) -> Tensor:
    """(C,) parameters as (C, 1, ...) beside a tensor with C slices; () stays ()."""
    return values if values.ndim == 0 else values.reshape(-1, *[1] * (like.ndim - 1))


def quantize(x: Tensor, q: QParams) -> Tensor:
    """Integers of the grid, int32, shape of ``x``."""
    steps = torch.round(x * (1.0 / _per_slice(q.scale, x))) + _per_slice(q.zero_point, x)
    return steps.clamp(q.quant_min, q.quant_max).to(torch.int32)


def dequantize(integers: Tensor, q: QParams) -> Tensor:
    """Float values of the integers, float32."""
    return (integers - _per_slice(q.zero_point, integers)) * _per_slice(q.scale, integers)


def fake_quantize(x: Tensor, q: QParams) -> Tensor:
    """``dequantize(quantize(x))`` in one operator of torch; float32, shape of ``x``."""
    if q.scale.ndim == 0:
        return torch.fake_quantize_per_tensor_affine(
            x, q.scale, q.zero_point, q.quant_min, q.quant_max
        )
    return torch.fake_quantize_per_channel_affine(
        x, q.scale, q.zero_point, 0, q.quant_min, q.quant_max
    )
