"""Importance that quantizers learn: the step sizes of all layers and widths, trained together."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
import xarray as xr
from torch import Tensor

from ltqlib.errors import InputError
from ltqlib.importance.groups import image_shares
from ltqlib.importance.model import Model
from ltqlib.models.graph import Graph
from ltqlib.progress import Progress
from ltqlib.quantization.grids import quant_range

SMALLEST_STEP = 1e-5  # of LIMPQ's quantizer; a layer of zeros starts here


def learned_importance(
    graph: Graph,
    images: Any,
    labels: npt.ArrayLike,
    bits: Sequence[int] = (6, 4),
    layers: Sequence[str] | None = None,
    steps: int = 100,
    batch: int = 100,
    learning_rate: float = 0.01,
    seed: int = 0,
) -> xr.DataArray:
    """Learned step size of each layer's weight quantizer, (layer, bits), in weight units.

    LIMPQ (Tang et al., ECCV 2022) reads a layer's importance at a width from the step size that
    quantization-aware training gives it. As there, every update runs the network once at each width
    and once at widths drawn at random, and adds the gradients; the step sizes start at three
    standard deviations of the weight and have LSQ's gradient. The weights are frozen, batches are
    class-balanced and not augmented, and only weights are quantized, on symmetric grids with one
    step a tensor. Unlike there, the optimizer is Adam on the logarithm of the step size: sizes
    differ a hundredfold between widths, and SGD on the sizes themselves sent some to zero.

    Args:
        images: as ``Graph.pixels`` takes them; labels: (N,).
        steps: updates; with few of them the start, hence the spread of the weights, still shows.
        learning_rate: about the relative change of a step size in one update.

    Raises:
        InputError: no image, an unknown layer, fewer than one step, bits not 2..8.
    """
    image_shares(labels)
    if steps < 1:
        raise InputError(f"learning importance takes at least 1 step, not {steps}")
    model = Model(graph, images, labels, layers, batch)
    bits = list(dict.fromkeys(bits))
    logarithms = torch.stack([_start(weight, bits) for weight in model.weights.values()]).log()
    logarithms.requires_grad_()
    optimizer = torch.optim.Adam([logarithms], lr=learning_rate)
    generator = torch.Generator().manual_seed(seed)
    with Progress(steps, "learned importance") as bar:
        for pixels, targets in _balanced_batches(model, steps, seed):
            optimizer.zero_grad()
            for columns in _policies(len(model.layers), len(bits), generator):
                rounded = _rounded(model.weights, logarithms.exp(), columns, bits)
                F.cross_entropy(model.logits(rounded, pixels), targets).backward()
            optimizer.step()
            bar.update()
    found = logarithms.detach().exp().double().cpu().numpy()
    return xr.DataArray(found, {"layer": model.layers, "bits": bits}, ("layer", "bits"))


def learned_step_quantize(weight: Tensor, step: Tensor, bits: int) -> Tensor:
    """``weight`` on the symmetric grid of ``bits`` with a learnable ``step`` (), shape unchanged.

    Forward ``clamp(round(w / s)) * s``; backward LSQ's gradient of ``s``, scaled by
    ``1 / sqrt(quant_max * n)`` (Esser et al., ICLR 2020, eq. 1 to 3 and section 2.2).

    Raises:
        InputError: bits outside 2..8.
    """
    low, high = quant_range(bits, symmetric=True)
    share = (high * weight.numel()) ** -0.5
    step = _straight_through(step, step * share)
    scaled = (weight / step).clamp(low, high)
    return _straight_through(scaled.round(), scaled) * step


def _straight_through(value: Tensor, gradient_of: Tensor) -> Tensor:
    """``value`` forward, the gradient of ``gradient_of`` backward."""
    return value.detach() + (gradient_of - gradient_of.detach())


def _start(weight: Tensor, bits: Sequence[int]) -> Tensor:
    """LIMPQ's first step sizes (bits,): three standard deviations over half the levels."""
    reach = weight.mean().abs() + 3 * weight.std()
    return torch.stack([reach / 2 ** (b - 1) for b in bits]).clamp(min=SMALLEST_STEP)


def _policies(layers: int, widths: int, generator: torch.Generator) -> list[list[int]]:
    """Column of the width of every layer: each width everywhere, then one draw a layer."""
    mixed = torch.randint(0, widths, (layers,), generator=generator).tolist()
    return [*([column] * layers for column in range(widths)), mixed]


def _rounded(
    weights: dict[str, Tensor], step_sizes: Tensor, columns: Sequence[int], bits: Sequence[int]
) -> dict[str, Tensor]:
    return {
        name: learned_step_quantize(weight, step_sizes[row, column], bits[column])
        for row, ((name, weight), column) in enumerate(zip(weights.items(), columns, strict=True))
    }


def _balanced_batches(model: Model, steps: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """``steps`` batches in which every class is equally likely, drawn with replacement."""
    generator = np.random.default_rng(seed)
    members = [np.flatnonzero(model.labels == label) for label in np.unique(model.labels)]
    for _ in range(steps):
        classes = generator.integers(0, len(members), model.batch)
        drawn = np.array([generator.choice(members[each]) for each in classes])
        yield from model.batches(drawn)
