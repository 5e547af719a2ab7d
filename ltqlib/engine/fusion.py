"""What follows a convolution and can be computed with it: a sum with a shortcut, an activation.

Their passes over the activations take a third of the time of a bfloat16 convolution and more;
oneDNN computes them while a tile of the output is still in the registers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from ltqlib.models.layers import argument
from ltqlib.models.probe import Value

aten = torch.ops.aten
ACTIVATIONS = {aten.relu.default: "relu", aten.hardtanh.default: "hardtanh"}  # exact when fused


@dataclass(frozen=True)
class Fusion:
    """A site and what is computed with it."""

    nodes: tuple[fx.Node, ...]  # the site first
    other: fx.Node | None = None  # is added to what the layer puts out
    activation: fx.Node | None = None

    @property
    def result(self) -> fx.Node:
        """The node whose value comes out."""
        return self.nodes[-1]

    @property
    def name(self) -> str | None:
        """The activation, as oneDNN calls it."""
        return None if self.activation is None else ACTIVATIONS[self.activation.target]  # type: ignore[index]

    @property
    def scalars(self) -> list[float]:
        """Its parameters."""
        if self.name != "hardtanh":
            return []
        return [argument(self.activation, name) for name in ("min_val", "max_val")]  # type: ignore[arg-type]

    def finish(self, y: Tensor, other: Tensor | None) -> Tensor:
        """The same in steps of their own."""
        if other is not None:
            y = y + other
        if self.activation is not None:
            target: Any = self.activation.target
            y = target(y, *self.scalars)
        return y


def find_fusion(
    site: fx.Node, inside: Sequence[fx.Node], values: Mapping[fx.Node, Value]
) -> Fusion:
    """What of the nodes ``inside`` a step can be computed with its site."""
    nodes, other, activation = [site], None, None
    user = _only_user(site, inside)
    if user is not None and _is_sum(user, values):
        first, second = user.args[:2]
        other = second if first is site else first
        nodes.append(user)
        user = _only_user(user, inside)
    if user is not None and user.target in ACTIVATIONS:
        activation = user
        nodes.append(user)
    return Fusion(tuple(nodes), other, activation)  # type: ignore[arg-type]


def _only_user(node: fx.Node, inside: Sequence[fx.Node]) -> fx.Node | None:
    users = list(node.users)
    return users[0] if len(users) == 1 and users[0] in inside else None


def _is_sum(node: fx.Node, values: Mapping[fx.Node, Value]) -> bool:
    """Whether a node adds two different float values of one shape, as they are."""
    if node.target != aten.add.Tensor or node.kwargs or len(node.args) != 2:
        return False
    first, second = node.args
    if first is second or first not in values or second not in values:
        return False
    shapes = [n.meta["val"].shape for n in (first, second)]  # type: ignore[union-attr]
    alike = values[first] == values[second] or values[first].rows == values[second].rows  # type: ignore[index]
    floats = all(values[n].dtype == torch.float32 for n in (first, second))  # type: ignore[index]
    return alike and floats and tuple(shapes[0]) == tuple(shapes[1])


def halving_pool(node: fx.Node) -> bool:
    """Whether a node is a max-pooling over 2x2 pixels that do not overlap."""
    if node.target != aten.max_pool2d.default:
        return False
    values = {n: argument(node, n) for n in ("kernel_size", "stride", "padding", "dilation")}
    pairs = {name: value if len(value) == 2 else [*value, *value] for name, value in values.items()}
    usual = {"kernel_size": [2, 2], "stride": [2, 2], "padding": [0, 0], "dilation": [1, 1]}
    return pairs == usual and not argument(node, "ceil_mode")


def halved(x: Tensor, *_: Any) -> Tensor:
    """The largest of 2x2 pixels: torch's pooling writes eight bytes of positions a value."""
    height, width = (2 * (size // 2) for size in x.shape[2:])
    rows = torch.maximum(x[:, :, 0:height:2], x[:, :, 1:height:2])
    return torch.maximum(rows[..., 0:width:2], rows[..., 1:width:2])


def can_fuse(x: Tensor) -> bool:
    """Whether oneDNN computes convolutions with what follows them here."""
    available = torch.backends.mkldnn.is_available() and bool(torch.backends.mkldnn.enabled)
    known = hasattr(torch.ops.mkldnn, "_convolution_pointwise")
    return x.device.type == "cpu" and available and known


def fused_convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    geometry: tuple[list[int], list[int], list[int], int],
    fusion: Fusion,
    other: Tensor | None,
) -> Tensor:
    """A 2D convolution with what follows it; ``geometry``: stride, padding, dilation, groups."""
    stride, padding, dilation, groups = geometry
    shape = (padding, stride, dilation, groups)
    operator = torch.ops.mkldnn._convolution_pointwise
    if other is None:
        name = fusion.name or "none"
        return operator.default(x, weight, bias, *shape, name, fusion.scalars, "")
    other = other.to(x.dtype).contiguous(memory_format=torch.channels_last)
    ending = (fusion.name, fusion.scalars, "")
    return operator.binary(x, other, weight, bias, *shape, "add", 1.0, *ending)
