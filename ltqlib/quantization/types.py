"""What quantization exchanges: widths of layers, tensors on a grid, layers in quantized form."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import NamedTuple

import torch
from torch import Tensor

from ltqlib.errors import InputError
from ltqlib.quantization import grids
from ltqlib.quantization.grids import QParams

FLOAT = (0, 32)  # widths that leave a layer in float32


class Bits(NamedTuple):
    """Widths of one layer: of its weights and of its input; None leaves float32."""

    weight_bits: int | None = None
    act_bits: int | None = None


BitConfig = dict[str, Bits]


@dataclass(frozen=True)
class QTensor:
    """A weight on a grid: ``integers`` (int8 where the grid fits, else int32) and their qparams."""

    integers: Tensor
    qparams: QParams

    @classmethod
    def quantize(cls, x: Tensor, qparams: QParams) -> "QTensor":
        """``x`` rounded to the nearest value of the grid."""
        return cls.of(grids.quantize(x, qparams), qparams)

    @classmethod
    def of(cls, integers: Tensor, qparams: QParams) -> "QTensor":
        """Integers that lie on the grid already, in the smallest of the two dtypes."""
        small = qparams.quant_min >= -128 and qparams.quant_max <= 127
        return cls(integers.to(torch.int8 if small else torch.int32), qparams)

    def dequantize(self) -> Tensor:
        """Float values of the integers, float32."""
        return grids.dequantize(self.integers.int(), self.qparams)

    @property
    def nbytes(self) -> int:
        """Bytes of the integers, packed without gaps, and of the grid."""
        return -(-self.integers.numel() * self.qparams.bits // 8) + self.qparams.nbytes


@dataclass(frozen=True)
class Variant:
    """One layer in quantized form.

    Args:
        weight: the weight on its grid; None leaves it float.
        input: the per-tensor grid of the layer's input; None leaves it float.
    """

    weight: QTensor | None = None
    input: QParams | None = None

    @property
    def bits(self) -> Bits:
        """The widths of weight and input."""
        return Bits(
            self.weight.qparams.bits if self.weight else None,
            self.input.bits if self.input else None,
        )


def widths_of(bits: int | Mapping[str, int], layers: Iterable[str]) -> dict[str, int]:
    """``{layer: bits}`` of the layers that are quantized; 0 and 32 leave a layer in float32.

    Args:
        bits: one width for every layer, or widths by layer (layers that are not named stay float).
        layers: names of the layers there are.

    Raises:
        InputError: a layer that is not there, or a width that is no whole number.
    """
    layers = list(layers)
    given = dict(bits) if isinstance(bits, Mapping) else dict.fromkeys(layers, bits)
    if wrong := [width for width in given.values() if not isinstance(width, Integral)]:
        raise InputError(f"bits are whole numbers, not {wrong[0]!r}: give 2 to 8, or 32 for float")
    if unknown := [name for name in given if name not in layers]:
        raise InputError(f"bits name a layer {unknown[0]!r}: the layers are {', '.join(layers)}")
    return {name: int(given[name]) for name in layers if given.get(name, 0) not in FLOAT}
