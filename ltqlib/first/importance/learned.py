"""Importance that quantizers learn: the step sizes of all layers and widths, trained together."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from ltqlib.first.data import Batches, Images
from ltqlib.first.errors import InputError
from ltqlib.first.importance.groups import Array, each_class, image_weights
from ltqlib.first.importance.layers import Labels, weights_of
from ltqlib.first.models import Network
from ltqlib.first.progress import Progress
from ltqlib.first.quantization.grids import quant_range

SMALLEST_STEP = 1e-5  # of LIMPQ's quantizer; a layer of zeros starts here


def learned_importance(
    network: Network,
    images: Images,
    labels: Labels,
    classes: Sequence[str],
    widths: Sequence[int],
    layers: Sequence[str] | None = None,
    steps: int = 100,
    batch: int = 100,
    learning_rate: float = 0.01,
    seed: int = 0,
) -> Array:
    """Learned step size of each layer's weight quantizer, (layers, widths), in weight units.

    LIMPQ (Tang et al., 2022) reads a layer's importance at a width from the step size that
    quantization-aware training gives it. As there, every update runs the network once at each width
    and once at widths drawn at random, and adds the gradients; the step sizes start at three
    standard deviations of the weight and have LSQ's gradient. The weights are frozen, batches are
    class-balanced and not augmented, and only weights are quantized, on symmetric grids with one
    step a tensor. Unlike there, the optimizer is Adam on the logarithm of the step size: sizes
    differ a hundredfold between widths, and SGD on the sizes themselves sent some to zero.

    Args:
        classes: names of the classes, in label order.
        steps: updates; with few of them the start, hence the spread of the weights, still shows.
        learning_rate: about the relative change of a step size in one update.

    Raises:
        InputError: a class without an image, an unknown layer, fewer than one step, bits not 2..8.
    """
    image_weights(labels, each_class(classes))
    if steps < 1:
        raise InputError(f"learning importance takes at least 1 step, not {steps}")
    weights = weights_of(network, layers)
    logarithms = torch.stack([_start(weight, widths) for weight in weights.values()]).log()
    logarithms.requires_grad_()
    optimizer = torch.optim.Adam([logarithms], lr=learning_rate)
    generator = torch.Generator().manual_seed(seed)
    drawn = _balanced_batches(network, images, labels, steps, batch, seed)
    with Progress(steps, "learned importance") as bar:
        for pixels, targets in drawn:
            optimizer.zero_grad()
            for columns in _policies(len(weights), len(widths), generator):
                rounded = _rounded(weights, logarithms.exp(), columns, widths)
                logits = functional_call(network, rounded, (pixels,))
                F.cross_entropy(logits, targets).backward()
            optimizer.step()
            bar.update()
    return logarithms.detach().exp().double().cpu().numpy()


def learned_step_quantize(weight: Tensor, step: Tensor, bits: int) -> Tensor:
    """``weight`` on the symmetric grid of ``bits`` with a learnable ``step`` (), shape unchanged.

    Forward ``clamp(round(w / s)) * s``; backward LSQ's gradient of ``s``, scaled by
    ``1 / sqrt(quant_max * n)`` (Esser et al., 2020, eq. 1 to 3 and section 2.2).

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


def _start(weight: Tensor, widths: Sequence[int]) -> Tensor:
    """LIMPQ's first step sizes (widths,): three standard deviations over half the levels."""
    reach = weight.mean().abs() + 3 * weight.std()
    return torch.stack([reach / 2 ** (bits - 1) for bits in widths]).clamp(min=SMALLEST_STEP)


def _policies(layers: int, widths: int, generator: torch.Generator) -> list[list[int]]:
    """Column of the width of every layer: each width everywhere, then one draw a layer."""
    mixed = torch.randint(0, widths, (layers,), generator=generator).tolist()
    return [*([column] * layers for column in range(widths)), mixed]


def _rounded(
    weights: dict[str, Tensor], step_sizes: Tensor, columns: Sequence[int], widths: Sequence[int]
) -> dict[str, Tensor]:
    return {
        name: learned_step_quantize(weight, step_sizes[row, column], widths[column])
        for row, ((name, weight), column) in enumerate(zip(weights.items(), columns, strict=True))
    }


def _balanced_batches(
    network: Network, images: Images, labels: Labels, steps: int, batch: int, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """``steps`` batches in which every class is equally likely."""
    batches = Batches(
        images,
        labels.astype(np.int64),
        batch_size=min(batch, len(labels)),
        sampler="class",
        augment="none",
        seed=seed,
        device=next(network.parameters()).device,
    )
    for step in range(steps):
        epoch, position = divmod(step, len(batches))
        if position == 0:
            current = batches.epoch(epoch)
        yield next(current)
