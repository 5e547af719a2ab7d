"""Other ways to compute a 3x3 convolution, for training, where the processor is faster with them.

They differ from torch's by rounding alone. What is reported is always evaluated with torch's.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ltqlib.models.networks import ConvUnit
from ltqlib.training import winograd

Convolve = Callable[[Tensor, Tensor], Tensor]

SMALL = 4  # pixels: the side up to which an image is small


@contextmanager
def fast(network: nn.Module, device: torch.device) -> Iterator[None]:
    """While this lasts, wide convolutions of ``network`` run the way ``device`` does them fastest.

    Measured at full width of a VGG16 (book/log.md): with matrix units (AMX) the layers of 512
    channels take a half or a quarter of the time, with AVX2 alone those of more than 64 channels
    a half. Elsewhere torch's own convolution was the fastest, or nothing was measured.
    """
    way, channels = _way(device)
    units = [
        unit
        for unit in network.modules()
        if isinstance(unit, ConvUnit)
        and unit.layer.stride == (1, 1)
        and unit.layer.in_channels * unit.layer.out_channels >= channels
    ]
    for unit in units:
        unit.convolve = way
    try:
        yield
    finally:
        for unit in units:
            unit.convolve = None


def _way(device: torch.device) -> tuple[Convolve | None, int]:
    """The way, and the product of a layer's channels from which on it is the faster one."""
    if device.type != "cpu":
        return None, 0
    if torch.cpu._is_amx_tile_supported():
        return as_product, 256 * 512
    if torch.backends.cpu.get_cpu_capability() == "AVX2":
        return by_winograd, 64 * 128
    return None, 0


def by_winograd(x: Tensor, weight: Tensor) -> Tensor:
    """3x3 convolution with stride 1 and padding 1; see :mod:`ltqlib.training.winograd`."""
    if winograd.fits(x):
        return winograd.convolve(x, weight)
    return F.conv2d(x, weight, padding=1)


def as_product(x: Tensor, weight: Tensor) -> Tensor:
    """3x3 convolution with stride 1 and padding 1, of small images as one matrix product.

    Matrix units work on 16 rows at a time, and a convolution gives them the pixels of one image
    row: 2 or 4. Here the rows are the pixels of the whole batch.

    Args:
        x: (B, C_in, H, W).
        weight: (C_out, C_in, 3, 3); used at the precision of ``x``.

    Returns:
        (B, C_out, H, W) in channels_last memory.
    """
    batch, _, height, width = x.shape
    if width > SMALL:
        return F.conv2d(x, weight, padding=1)
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
    windows = [padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
    rows = torch.cat(windows, -1).flatten(0, 2)
    columns = weight.to(x.dtype).permute(0, 2, 3, 1).flatten(1)
    return F.linear(rows, columns).view(batch, height, width, -1).permute(0, 3, 1, 2)
