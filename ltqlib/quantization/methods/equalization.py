"""Cross-layer equalization: channels share their ranges between two layers before rounding.

ReLU lets a positive factor through, so channel ``i`` of a layer's output may be divided by ``s_i``
if the next layer's weights of that channel are multiplied by it: the float model stays the same.
Nagel et al. (ICCV 2019, "Data-free quantization through weight equalization and bias correction",
section 4.1, eq. 9 to 11) choose ::

    s_i = sqrt(r1_i * r2_i) / r2_i,      r1_i, r2_i: largest weight of channel i in either layer,

after which both layers have the range ``sqrt(r1_i * r2_i)`` there, and repeat until nothing
changes. Two layers are a pair where nothing but ReLU, pooling or flattening lies between them and
nobody else reads what does. Then ``equalized-tensor`` rounds to nearest on one grid a tensor, and
``equalized-corrected-tensor`` corrects biases as well, the paper's whole procedure with images.

A layer's form depends on the weights of its neighbours, and the layers that stay float are changed
too, so the method is **not local**.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, fx

from ltqlib.models.layers import argument
from ltqlib.quantization.methods import get, register
from ltqlib.quantization.quantized import Quantized
from ltqlib.quantization.types import widths_of

if TYPE_CHECKING:
    from ltqlib.models.graph import Graph

aten = torch.ops.aten
# Operators that let a positive factor of each channel through: of any output, and of maps alone
ANYWHERE = (aten.relu.default, aten.leaky_relu.default, aten.dropout.default, aten.clone.default)
POOLING = (aten.max_pool2d.default, aten.avg_pool2d.default, aten.adaptive_avg_pool2d.default)
ROUNDS, CLOSE = 50, 1e-3  # how often to go through the pairs, and when it is enough


@dataclass(frozen=True)
class Equalization:
    """See the module; ``then`` is the method that quantizes the equalized model."""

    name: str
    then: str
    local: ClassVar[bool] = False
    activations: ClassVar[bool] = False

    @property
    def calibrated(self) -> bool:
        """Whether the method after it needs calibration images."""
        return get(self.then).calibrated

    def quantize(
        self,
        graph: "Graph",
        widths: Mapping[str, int],
        calibration: Any = None,
        labels: Any = None,
        budget: float | None = None,
    ) -> Quantized:
        """The equalized model with the layers of ``widths`` quantized; see :class:`Method`.

        Raises:
            InputError: an unknown layer, bits outside 2..8, no calibration images where needed.
        """
        widths, then = widths_of(widths, graph.layers), get(self.then)
        model = then.quantize(equalized(graph), widths, calibration, labels, budget)
        model.method = self.name
        return model


@dataclass(frozen=True)
class Pair:
    """Two layers of which the second alone reads the first, through ReLU, pooling, flattening."""

    first: str
    second: str
    channels: int  # of the first's output
    groups: int  # of the second's weight


def equalized(graph: "Graph") -> "Graph":
    """The same function, with ranges shared between the two layers of every pair."""
    weights = {name: graph.weight(name) for name in graph.layers}
    found = list(pairs(graph))
    total = {pair.first: weights[pair.first].new_ones(pair.channels) for pair in found}
    for _ in range(ROUNDS):
        moved = 0.0
        for pair in found:
            factor = _factor(pair, weights[pair.first], weights[pair.second])
            first, second = weights[pair.first], weights[pair.second]
            weights[pair.first] = first / factor.reshape(-1, *[1] * (first.ndim - 1))
            scaled = _by_input(second, pair) * factor.reshape(pair.groups, 1, -1, 1)
            weights[pair.second] = scaled.reshape(second.shape)
            total[pair.first] *= factor
            moved = max(moved, float(factor.log().abs().max()))
        if moved < CLOSE:
            break
    changed = {graph.layers[n].attribute: graph.held(n, w) for n, w in weights.items()}
    for name, factor in total.items():
        bias = argument(graph.node(graph.layers[name].sites[0]), "bias")
        if bias is not None:
            changed[bias.target] = graph.traced.constants[bias.target] / factor
    return _with_constants(graph, changed)


def pairs(graph: "Graph") -> Iterator[Pair]:
    """All pairs, in the order of their first layers."""
    for name, layer in graph.layers.items():
        node = graph.node(layer.sites[0])
        biases = argument(node, "bias")
        if len(layer.sites) > 1 or (biases is not None and len(biases.users) > 1):
            continue
        second = _reader(graph, node, layer.kind != "linear")
        if second is not None and len(graph.layers[second].sites) == 1:
            groups = argument(graph.node(graph.layers[second].sites[0]), "groups") or 1
            yield Pair(name, second, layer.weight_shape[0], groups)


def _reader(graph: "Graph", node: fx.Node, maps: bool) -> str | None:
    """The layer that alone reads a site's output, channel by channel; None if there is none."""
    while len(node.users) == 1:
        before, node = node, next(iter(node.users))
        if node.args[0] is not before:
            return None
        if node.name in graph.sites:
            name = graph.sites[node.name]
            return name if maps == (graph.layers[name].kind != "linear") else None
        if maps and _flattens(before, node):
            maps = False
        elif node.target not in (ANYWHERE + POOLING if maps else ANYWHERE):
            return None
    return None


def _flattens(before: fx.Node, node: fx.Node) -> bool:
    """Whether (B, C, ...) becomes (B, C * ...)."""
    if node.target != aten.reshape.default:
        return False
    old, new = before.meta["val"].shape, node.meta["val"].shape
    return len(new) == 2 and new[1] == math.prod(old[1:])


def _factor(pair: Pair, first: Tensor, second: Tensor) -> Tensor:
    """``sqrt(r1 * r2) / r2`` of each channel, (C,); 1 where either layer is zero."""
    r1 = first.flatten(1).abs().amax(1)
    r2 = _by_input(second, pair).abs().amax((1, 3)).flatten()
    return torch.where((r1 > 0) & (r2 > 0), (r1 / r2).sqrt(), 1.0)


def _by_input(weight: Tensor, pair: Pair) -> Tensor:
    """(groups, C_out / groups, C / groups, values), C the channels that the weight reads."""
    groups = pair.groups
    return weight.reshape(groups, weight.shape[0] // groups, pair.channels // groups, -1)


def _with_constants(graph: "Graph", changed: Mapping[str, Tensor]) -> "Graph":
    """The graph with other constants; each keeps its dtype and memory format."""
    constants = dict(graph.traced.constants)
    for name, value in changed.items():
        constants[name] = torch.empty_like(constants[name]).copy_(value)
    traced = replace(graph.traced, constants=constants)
    return type(graph)(traced, graph.layers, graph.skipped, graph.values, graph.example)


register(Equalization("equalized-tensor", then="w-tensor"))
register(Equalization("equalized-corrected-tensor", then="corrected-tensor"))
