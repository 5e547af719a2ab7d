"""A layer with given weights, ready to be computed in float32 or bfloat16."""

from typing import Any

import torch
from torch import Tensor, fx

from ltqlib.engine.fusion import Fusion, can_fuse, fused_convolution
from ltqlib.models.layers import CONVOLUTIONS, PRODUCTS, argument
from ltqlib.quantization.grids import QParams, fake_quantize

aten = torch.ops.aten


class Operator:
    """What a site of a layer computes, from a weight that is cast and laid out once.

    On a map with fewer pixels than the kernel has taps, a convolution is a linear map between all
    values and runs as one: the matrix is no larger than the products that are not on the padding.

    Args:
        site: the node of the graph.
        weight: as the operator takes it, float32.
        bias: (C_out,) or None.
        dtype: that the layer computes in and returns.
        fusion: what is computed with the site.
        grid: of the layer's input, where it is quantized.
    """

    def __init__(
        self,
        site: fx.Node,
        weight: Tensor,
        bias: Tensor | None,
        dtype: torch.dtype,
        fusion: Fusion,
        grid: QParams | None = None,
    ) -> None:
        self.site, self.dtype, self.grid, self.fusion = site, dtype, grid, fusion
        self.target: Any = site.target
        self.bias = None if bias is None else bias.to(dtype)
        self.rest = () if self.target in PRODUCTS else (self.bias, *site.args[3:])
        if weight.ndim == 4:
            weight = weight.contiguous(memory_format=torch.channels_last)
        self.weight = weight.to(dtype)
        self.matrices: dict[tuple[int, int], Tensor] = {}
        self.geometry = _geometry(site) if can_fuse(weight) else None
        self.taps = _taps(site, weight)

    def __call__(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        """(B, C_in, ...) to (B, C_out, ...) in ``dtype``; ``other`` is what the fusion adds."""
        if self.grid is not None:
            x = fake_quantize(x.float(), self.grid.to(x.device))
        x = x.to(self.dtype)
        if self.taps and x.ndim == 4 and x.shape[2] * x.shape[3] < self.taps:
            return self.fusion.finish(self._as_matrix(x), other)
        if self.geometry is not None and x.ndim == 4 and len(self.fusion.nodes) > 1:
            return fused_convolution(x, self.weight, self.bias, self.geometry, self.fusion, other)
        return self.fusion.finish(self.target(x, self.weight, *self.rest), other)

    def _as_matrix(self, x: Tensor) -> Tensor:
        size = (x.shape[2], x.shape[3])
        if size not in self.matrices:
            stride, padding, dilation = (argument(self.site, n) for n in _GEOMETRY)
            self.matrices[size] = toeplitz(self.weight, size, stride, padding, dilation)
        y = x.permute(0, 2, 3, 1).flatten(1) @ self.matrices[size]
        y = y.view(len(x), *self._output_size(size), -1)
        if self.bias is not None:
            y += self.bias
        return y.permute(0, 3, 1, 2)

    def _output_size(self, size: tuple[int, int]) -> tuple[int, int]:
        stride, padding, dilation = (argument(self.site, n) for n in _GEOMETRY)
        return output_size(self.weight, size, stride, padding, dilation)


_GEOMETRY = ("stride", "padding", "dilation")


def _geometry(site: fx.Node) -> tuple[list[int], list[int], list[int], int] | None:
    """stride, padding, dilation and groups of a 2D convolution."""
    if site.target != aten.conv2d.default:
        return None
    stride, padding, dilation = (list(_pair(argument(site, name))) for name in _GEOMETRY)
    return stride, padding, dilation, argument(site, "groups")


def _taps(site: fx.Node, weight: Tensor) -> int:
    """Taps of a kernel that may run as a matrix product, else 0."""
    plain = site.target == aten.conv2d.default and argument(site, "groups") == 1
    if not plain or site.target not in CONVOLUTIONS:
        return 0
    return weight.shape[2] * weight.shape[3]


def _pair(value: Any) -> tuple[int, int]:
    values = [value] if isinstance(value, int) else list(value)
    return values[0], values[-1]


def output_size(
    weight: Tensor, size: tuple[int, int], stride: Any, padding: Any, dilation: Any
) -> tuple[int, int]:
    """(height, width) of a convolution's output."""
    ways = zip(size, weight.shape[2:], *map(_pair, (stride, padding, dilation)), strict=True)
    height, width = ((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in ways)
    return height, width


def toeplitz(
    weight: Tensor, size: tuple[int, int], stride: Any = 1, padding: Any = 0, dilation: Any = 1
) -> Tensor:
    """The matrix of a convolution on maps of ``size``, for channels-last maps laid flat.

    Args:
        weight: (C_out, C_in, height, width).

    Returns:
        (pixels in * C_in, pixels out * C_out).
    """
    outputs, inputs = weight.shape[:2]
    out = output_size(weight, size, stride, padding, dilation)
    matrix = weight.new_zeros(*size, inputs, *out, outputs)
    (si, sj), (pi, pj), (di, dj) = (_pair(value) for value in (stride, padding, dilation))
    for i, j, tap_i, tap_j in torch.cartesian_prod(
        *(torch.arange(n) for n in (*out, *weight.shape[2:]))
    ).tolist():
        row, column = i * si - pi + tap_i * di, j * sj - pj + tap_j * dj
        if 0 <= row < size[0] and 0 <= column < size[1]:
            matrix[row, column, :, i, j] = weight[:, :, tap_i, tap_j].T
    return matrix.view(size[0] * size[1] * inputs, out[0] * out[1] * outputs)
