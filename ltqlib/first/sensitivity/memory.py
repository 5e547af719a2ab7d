"""How many images may walk together within a bound on the memory of their activations."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ltqlib.first.errors import InputError
from ltqlib.first.models import Network, ResidualBlock, quantizable_layers

Mask = npt.NDArray[np.bool_]


@torch.inference_mode()
def row_values(network: Network, side: int) -> npt.NDArray[np.int64]:
    """Values that an image takes at each layer of a walk, at most, (layers,).

    Its input and output are alive together; so are, where neighbours are joined, the output and
    its copy. Within a block the shortcut comes on top.
    """
    blocks = [unit for unit in network.backbone.modules() if isinstance(unit, ResidualBlock)]
    inside = {layer for block in blocks for layer in (block.first.layer, block.second.layer)}
    values: list[int] = []

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        copies = 4 if module in inside else 2
        values.append(copies * max(inputs[0][0].numel(), output[0].numel()))

    hook: Any = count
    handles = [layer.register_forward_hook(hook) for layer in quantizable_layers(network).values()]
    network(torch.zeros(1, 3, side, side, device=network.normalize.mean.device))
    for handle in handles:
        handle.remove()
    return np.array(values)


def image_bytes(
    values: npt.NDArray[np.int64], wanted: Mask, itemsize: int
) -> npt.NDArray[np.int64]:
    """Bytes that each image takes in a walk, at most, (N,).

    Args:
        values: what :func:`row_values` found, (layers,).
        wanted: layers and widths that the image is wanted for, (layers, widths, N).
        itemsize: bytes of a value; the first layer and the linear ones take 4 regardless.
    """
    rows = 1 + wanted.sum(axis=1).cumsum(axis=0)  # itself, and what began up to this layer
    sizes = np.full(len(values), itemsize)
    sizes[0] = 4
    return np.asarray((rows * (values * sizes)[:, None]).max(axis=0), dtype=np.int64)


def batches(
    cost: npt.NDArray[np.int64], wanted: Mask, batch: int, memory: int
) -> Iterator[npt.NDArray[np.int64]]:
    """Positions of the images that are wanted for anything, cut where a bound is reached.

    Args:
        cost: bytes of each image, (N,).
        wanted: (layers, widths, N).
        batch: images, at most.
        memory: bytes, at most.

    Raises:
        InputError: one image takes more than ``memory``.
    """
    if len(cost) and cost.max() > memory:
        raise InputError(
            f"one image takes {cost.max() / 2**20:.1f} MiB with all layers and widths, the bound "
            f"is {memory / 2**20:.1f} MiB: raise memory or try fewer widths at once"
        )
    held: list[int] = []
    total = 0
    for at in np.flatnonzero(wanted.any(axis=(0, 1))):
        if len(held) == batch or total + cost[at] > memory:
            yield np.array(held)
            held, total = [], 0
        held.append(int(at))
        total += int(cost[at])
    if held:
        yield np.array(held)
