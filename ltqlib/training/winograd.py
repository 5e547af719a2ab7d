"""3x3 convolutions with fewer multiplications, for training on CPUs without matrix units.

Winograd's minimal filtering F(m x m, 3 x 3) (Lavin and Gray, 2016, "Fast Algorithms for
Convolutional Neural Networks", section 4) computes m x m outputs from (m + 2) x (m + 2) inputs
with one product a number: 2.25 times fewer than the definition for m = 2, 4 times for m = 4. What
is left is a batch of matrix products.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

Matrices = dict[int, list[list[float]]]

# The paper's B^T, G and A^T, by m; its sections 4.1 (m = 2) and 4.3 (m = 4)
INPUT: Matrices = {
    2: [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]],
    4: [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
}
FILTER: Matrices = {
    2: [[1, 0, 0], [1 / 2, 1 / 2, 1 / 2], [1 / 2, -1 / 2, 1 / 2], [0, 0, 1]],
    4: [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ],
}
OUTPUT: Matrices = {
    2: [[1, 1, 1, 0], [0, 1, -1, -1]],
    4: [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
}


def fits(x: Tensor) -> bool:
    """Whether :func:`convolve` takes images of this shape: both sides even."""
    return x.shape[2] % 2 == x.shape[3] % 2 == 0


def convolve(x: Tensor, weight: Tensor) -> Tensor:
    """3x3 convolution with stride 1 and padding 1, differentiable once.

    Args:
        x: (B, C_in, H, W), H and W even; tiles of 4x4 where both are multiples of 4, else 2x2.
        weight: (C_out, C_in, 3, 3), of the dtype of ``x``.

    Returns:
        (B, C_out, H, W) in channels_last memory; in float32 within some 1e-5 of the convolution,
        relative to its size.
    """
    m = 4 if x.shape[2] % 4 == x.shape[3] % 4 == 0 else 2
    result: Tensor = _Winograd.apply(x, weight, m)
    return result


class _Winograd(torch.autograd.Function):
    """The three transforms as products with Kronecker squares; a "place" is one of (m + 2)^2."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, m: int) -> Tensor:
        batch, _, height, width = x.shape
        into, filters, out = (_squared(matrix[m], x) for matrix in (INPUT, FILTER, OUTPUT))
        places, (outputs, inputs) = (m + 2) ** 2, weight.shape[:2]
        tiles = (into @ _cut(x, m)).view(places, -1, inputs)
        kernels = filters @ weight.permute(2, 3, 1, 0).reshape(9, -1)
        kernels = kernels.view(places, inputs, outputs)
        y = out @ torch.bmm(tiles, kernels).view(places, -1)
        ctx.save_for_backward(tiles, kernels)
        ctx.m, ctx.shape = m, x.shape
        y = y.view(m, m, batch, height // m, width // m, outputs).permute(2, 3, 0, 4, 1, 5)
        return y.reshape(batch, height, width, outputs).permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        tiles, kernels = ctx.saved_tensors
        m, (batch, inputs, height, width) = ctx.m, ctx.shape
        into, filters, out = (_squared(matrix[m], gradient) for matrix in (INPUT, FILTER, OUTPUT))
        places, outputs = (m + 2) ** 2, gradient.shape[1]
        g = gradient.permute(0, 2, 3, 1)
        g = g.reshape(batch, height // m, m, width // m, m, outputs).permute(2, 4, 0, 1, 3, 5)
        g = (out.t() @ g.reshape(m * m, -1)).view(places, -1, outputs)
        by_kernel = filters.t() @ torch.bmm(tiles.transpose(1, 2), g).view(places, -1)
        by_kernel = by_kernel.view(3, 3, inputs, outputs).permute(3, 2, 0, 1)
        by_tile = into.t() @ torch.bmm(g, kernels.transpose(1, 2)).view(places, -1)
        return _paste(by_tile, m, ctx.shape), by_kernel, None


def _squared(matrix: list[list[float]], like: Tensor) -> Tensor:
    """The matrix applied to rows and to columns of a tile, as one matrix."""
    one = torch.tensor(matrix, dtype=like.dtype, device=like.device)
    return torch.kron(one, one)


def _places(m: int, height: int, width: int) -> list[tuple[slice, slice]]:
    """For each place of a tile, where the tiles of a padded image have it."""
    side = range(m + 2)
    rows = [slice(i, i + height - m + 1, m) for i in side]
    columns = [slice(j, j + width - m + 1, m) for j in side]
    return [(row, column) for row in rows for column in columns]


def _cut(x: Tensor, m: int) -> Tensor:
    """Overlapping tiles, (places, B * tiles * C)."""
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
    places = _places(m, *x.shape[2:])
    return torch.stack([padded[:, row, column] for row, column in places]).flatten(1)


def _paste(tiles: Tensor, m: int, shape: torch.Size) -> Tensor:
    """The transpose of :func:`_cut`: what overlaps is added up."""
    batch, channels, height, width = shape
    pieces = tiles.view((m + 2) ** 2, batch, height // m, width // m, channels)
    padded = tiles.new_zeros(batch, height + 2, width + 2, channels)
    for piece, (row, column) in zip(pieces, _places(m, height, width), strict=True):
        padded[:, row, column] += piece
    return padded[:, 1:-1, 1:-1].permute(0, 3, 1, 2)
