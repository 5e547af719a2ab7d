"""One walk through a network with every layer quantized in turn, at several widths.

The layers before the quantized one do not change, so a batch goes through them once. Behind it
the weights are the float network's again, so what began at different layers and widths goes
through the rest together, as one long batch.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ltqlib.first.models import ConvUnit, LinearUnit, Network, ResidualBlock, quantizable_layers
from ltqlib.first.quantization.ptq import Scheme, quantized_weight

CHUNK = 1 << 20  # bytes of activations that go through a layer together: they fit a core's cache
SMALL = 2  # a map of at most 2x2 pixels lies within a 3x3 kernel around each of its pixels

Shortcut = Callable[[Tensor], Tensor]


class Operator:
    """A layer with given weights in ``dtype``: what ``layer`` computes, from weights made once.

    On a map of at most 2x2 pixels a 3x3 convolution is a linear map between all its values, and
    runs as one: 4 of its 9 taps per pixel are not zero, and the matrix units are filled.
    """

    def __init__(self, layer: nn.Conv2d | nn.Linear, weight: Tensor, dtype: torch.dtype) -> None:
        self.layer, self.dtype = layer, dtype
        self.bias = None if layer.bias is None else layer.bias.to(dtype)
        if isinstance(layer, nn.Conv2d):
            weight = weight.contiguous(memory_format=torch.channels_last)
        self.weight = weight.to(dtype)
        self.matrices: dict[tuple[int, int], Tensor] = {}

    def __call__(self, x: Tensor) -> Tensor:
        """(B, inputs, ...) to (B, outputs, ...), before the ReLU, in ``dtype``."""
        x = x.to(self.dtype)
        if isinstance(self.layer, nn.Linear):
            return F.linear(x, self.weight, self.bias)
        if self._is_small(x):
            return self._as_matrix(x)
        return F.conv2d(x, self.weight, self.bias, self.layer.stride, self.layer.padding)

    def _is_small(self, x: Tensor) -> bool:
        same_size = self.layer.stride == (1, 1) and self.layer.padding == (1, 1)
        return same_size and self.layer.kernel_size == (3, 3) and max(x.shape[2:]) <= SMALL

    def _as_matrix(self, x: Tensor) -> Tensor:
        size = (x.shape[2], x.shape[3])
        if size not in self.matrices:
            self.matrices[size] = toeplitz(self.weight, *size)
        y = x.permute(0, 2, 3, 1).flatten(1) @ self.matrices[size]
        y = y.view(len(x), *size, -1)
        if self.bias is not None:
            y += self.bias
        return y.permute(0, 3, 1, 2)


def toeplitz(weight: Tensor, height: int, width: int) -> Tensor:
    """The matrix of a 3x3 convolution with padding 1 on a map of at most 2x2 pixels.

    Args:
        weight: (outputs, inputs, 3, 3).

    Returns:
        (height * width * inputs, height * width * outputs), for channels-last maps laid flat.
    """
    outputs, inputs = weight.shape[:2]
    matrix = weight.new_empty(height, width, inputs, height, width, outputs)
    for row, column in torch.cartesian_prod(torch.arange(height), torch.arange(width)).tolist():
        for i, j in torch.cartesian_prod(torch.arange(height), torch.arange(width)).tolist():
            matrix[row, column, :, i, j] = weight[:, :, row - i + 1, column - j + 1].T
    return matrix.view(height * width * inputs, height * width * outputs)


@dataclass
class Step:
    """One layer of the walk, with what surrounds it: ``after(relu(layer(x) + shortcut))``."""

    name: str
    plain: Operator
    quantized: list[Operator]  # one a width
    relu: bool
    opens: Shortcut | None = None  # what the input becomes on its way past the block
    closes: bool = False  # the block's shortcut is added
    after: list[nn.Module] = field(default_factory=list)  # pooling, flattening

    def finish(self, y: Tensor, shortcut: Tensor | None) -> Tensor:
        """What follows the layer, in place; pooling first, which a ReLU lets pass."""
        if self.closes and shortcut is not None:
            y += shortcut
        rising = self.relu and all(isinstance(m, (nn.MaxPool2d, nn.Flatten)) for m in self.after)
        if self.relu and not rising:
            y = y.relu_()
        for module in self.after:
            y = module(y)
        return y.relu_() if rising else y


@dataclass
class Rows:
    """Activations (rows, ...), and what waits beside a block to be added behind it."""

    x: Tensor
    shortcut: Tensor | None = None

    def bytes(self) -> int:
        """Size of the activations."""
        return self.x.nbytes

    def picked(self, inside: Tensor) -> "Rows":
        """Some of the rows, by their positions."""
        shortcut = None if self.shortcut is None else self.shortcut[inside]
        return Rows(self.x[inside], shortcut)

    def split(self, size: int) -> Iterator["Rows"]:
        """``size`` rows at a time, in order."""
        for start in range(0, len(self.x), size):
            part = slice(start, start + size)
            shortcut = None if self.shortcut is None else self.shortcut[part]
            yield Rows(self.x[part], shortcut)

    @staticmethod
    def joined(parts: Sequence["Rows"]) -> "Rows":
        """One after the other."""
        if len(parts) == 1:
            return parts[0]
        shortcuts = [part.shortcut for part in parts if part.shortcut is not None]
        return Rows(torch.cat([p.x for p in parts]), torch.cat(shortcuts) if shortcuts else None)


def make_steps(
    network: Network, widths: Sequence[int], scheme: Scheme, dtype: torch.dtype
) -> list[Step]:
    """The layers of a folded network in order, with weights in ``dtype``.

    The first layer and the linear ones stay in float32: they cost little, the one reads pixels
    and the others end in the logits, where rounding would be felt most.
    """
    names = {layer: name for name, layer in quantizable_layers(network).items()}

    def step(layer: nn.Conv2d | nn.Linear, relu: bool) -> Step:
        used = torch.float32 if isinstance(layer, nn.Linear) or names[layer] == "L1" else dtype
        weights = [quantized_weight(layer.weight.data, bits, scheme) for bits in widths]
        quantized = [Operator(layer, weight, used) for weight in weights]
        return Step(names[layer], Operator(layer, layer.weight.data, used), quantized, relu)

    steps: list[Step] = []
    for unit in network.backbone.children():
        if isinstance(unit, (ConvUnit, LinearUnit)):
            steps.append(step(unit.layer, getattr(unit, "relu", True)))
        elif isinstance(unit, ResidualBlock):
            first, second = step(unit.first.layer, True), step(unit.second.layer, True)
            first.opens, second.closes = unit.shortcut, True
            steps += [first, second]
        else:
            steps[-1].after.append(unit)
    return [*steps, step(network.classifier, False)]


Picks = Callable[[int, int], Tensor | None]  # (layer, width) -> rows of the batch; None is all


def walk(
    steps: Sequence[Step], x: Tensor, dtype: torch.dtype, picks: Picks = lambda *_: None
) -> Tensor:
    """Logits of each network that has one layer quantized.

    Args:
        x: normalized images (B, 3, H, W).
        picks: which of them a layer (by its position) and width (likewise) is wanted for.

    Returns:
        (rows, classes): layers in order, for each the widths, for each the images picked.
    """
    base, chunks = Rows(x), list[Rows]()
    for position, step in enumerate(steps):
        kept = torch.float32 if step is steps[-1] else dtype  # the logits stay as they are
        started = list(_quantized(step, base, kept, lambda w: picks(position, w)))  # noqa: B023
        advance(step, chunks, kept)
        chunks = merged([*chunks, *started])
        base = through(step, step.plain, base, kept)
    return torch.cat([chunk.x for chunk in chunks])


def advance(step: Step, chunks: list[Rows], dtype: torch.dtype) -> None:
    """Take every chunk through a layer in place, so that its input is freed at once."""
    for number, chunk in enumerate(chunks):
        chunks[number] = through(step, step.plain, chunk, dtype)


def _quantized(
    step: Step, base: Rows, dtype: torch.dtype, picks: Callable[[int], Tensor | None]
) -> Iterator[Rows]:
    """The layer's outputs at every width."""
    for number, operator in enumerate(step.quantized):
        picked = picks(number)
        rows = base
        if picked is not None:
            if not len(picked):
                continue
            rows = base.picked(picked)
        yield through(step, operator, rows, dtype)


def through(step: Step, operator: Operator, rows: Rows, dtype: torch.dtype) -> Rows:
    """Rows behind a layer and what follows it, computed by one of its operators."""
    shortcut = rows.shortcut if step.opens is None else step.opens(rows.x)
    y = step.finish(operator(rows.x), rows.shortcut).to(dtype)
    return Rows(y, None if step.closes else shortcut)


def merged(chunks: Sequence[Rows]) -> list[Rows]:
    """Neighbours joined as long as they stay within ``CHUNK`` bytes, in the same order."""
    groups: list[list[Rows]] = []
    size = 0
    for chunk in chunks:
        size += chunk.bytes()
        if not groups or size > CHUNK:
            groups.append([])
            size = chunk.bytes()
        groups[-1].append(chunk)
    return [Rows.joined(group) for group in groups]
