"""Which nodes of a graph are quantizable layers, what they are called, and what they cost."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from ltqlib.models.trace import Traced

aten = torch.ops.aten
CONVOLUTIONS = (
    aten.conv1d.default,
    aten.conv1d.padding,
    aten.conv2d.default,
    aten.conv2d.padding,
    aten.conv3d.default,
    aten.conv3d.padding,
)
TRANSPOSED = (
    aten.conv_transpose1d.default,
    aten.conv_transpose2d.input,
    aten.conv_transpose3d.input,
)
LINEAR = (aten.linear.default,)
PRODUCTS = (aten.matmul.default, aten.mm.default)  # x @ weight, a linear layer without a module


@dataclass(frozen=True)
class Layer:
    """A quantizable layer: one weight, which may act at several sites (tied weights)."""

    name: str
    kind: str  # conv | grouped | depthwise | transposed | linear
    parameters: int  # values of the weight
    macs: int  # multiply-accumulates of one image, over all sites
    weight_shape: tuple[int, ...]  # (C_out, C_in / groups, ...)
    sites: tuple[str, ...]  # names of the graph's nodes that use the weight, in order
    attribute: str  # the constant that holds the weight as its operator wants it


def argument(node: fx.Node, name: str) -> Any:
    """An argument of an operator by its name, its default where it is not given."""
    schema = node.target._schema  # type: ignore[union-attr]
    for position, parameter in enumerate(schema.arguments):
        if parameter.name == name:
            if position < len(node.args):
                return node.args[position]
            return node.kwargs.get(name, parameter.default_value)
    return None


def is_site(traced: Traced, node: fx.Node) -> bool:
    """Whether a node is a convolution or a linear map of the images by a constant weight."""
    if node.target not in (*CONVOLUTIONS, *TRANSPOSED, *LINEAR, *PRODUCTS):
        return False
    weight, bias = traced.constant(node.args[1]), argument(node, "bias")
    if weight is None or (bias is not None and traced.constant(bias) is None):
        return False
    right_shape = weight.ndim == 2 or node.target not in PRODUCTS
    return right_shape and weight.is_floating_point()


def sites(traced: Traced) -> list[fx.Node]:
    """The sites of all layers, in order of execution."""
    return [node for node in traced.graph.nodes if is_site(traced, node)]


def channels_first(node: fx.Node, weight: Tensor) -> Tensor:
    """A weight as its operator holds it, as (C_out, C_in / groups, ...)."""
    if node.target in PRODUCTS:
        return weight.t()
    if node.target in TRANSPOSED:
        return _swapped(weight, argument(node, "groups"))
    return weight


def as_held(node: fx.Node, weight: Tensor) -> Tensor:
    """The inverse of :func:`channels_first`."""
    return channels_first(node, weight)  # both exchange two axes, within each group


def _swapped(weight: Tensor, groups: int) -> Tensor:
    """(groups * a, b, ...) to (groups * b, a, ...)."""
    grouped = weight.unflatten(0, (groups, -1))
    return grouped.transpose(1, 2).flatten(0, 1)


def kind_of(node: fx.Node, weight: Tensor) -> str:
    """conv, grouped, depthwise, transposed or linear; ``weight`` is (C_out, C_in / groups, ...)."""
    if node.target in TRANSPOSED:
        return "transposed"
    if node.target not in CONVOLUTIONS:
        return "linear"
    if argument(node, "groups") == 1:
        return "conv"
    return "depthwise" if weight.shape[1] == 1 else "grouped"


def macs_of(node: fx.Node, held: Tensor, values: Mapping[fx.Node, int]) -> int:
    """Multiply-accumulates of one image; ``values`` are those of each node's result an image.

    Every position of the output (of the input where the convolution is transposed) takes every
    weight once; taps on the padding count, as usual.
    """
    weight = channels_first(node, held)
    if node.target in TRANSPOSED:
        channels = weight.shape[1] * argument(node, "groups")
        return weight.numel() * (values[node.args[0]] // channels)  # type: ignore[index]
    return weight.numel() * (values[node] // weight.shape[0])


def module_of(node: fx.Node) -> str:
    """Path of the innermost module that a node was traced in."""
    stack = node.meta.get("nn_module_stack") or {}
    path = next(reversed(stack.values()))[0] if stack else ""
    return path.split("@")[0]  # the second call of a module is marked so


def name_of(traced: Traced, node: fx.Node) -> str:
    """The layer's module, or the parameter where it is not called ``weight``."""
    attribute = str(node.args[1].target)  # type: ignore[union-attr]
    if traced.sources[attribute] != (attribute,):
        return module_of(node) or node.name  # made from parameters, by a parametrization for one
    module, _, parameter = attribute.rpartition(".")
    stem = parameter.removesuffix("weight").removesuffix("_")
    return ".".join(part for part in (module, stem) if part) or "weight"


def find_layers(
    traced: Traced, values: Mapping[fx.Node, int], names: Mapping[str, str]
) -> dict[str, Layer]:
    """All quantizable layers by their names, in order of their first execution.

    Args:
        traced: the graph, with what can be folded folded.
        values: how many values an image has in each node's result.
        names: module path -> layer name, where another name is wanted.
    """
    by_weight: dict[str, list[fx.Node]] = {}
    for node in sites(traced):
        by_weight.setdefault(str(node.args[1].target), []).append(node)  # type: ignore[union-attr]
    layers: dict[str, Layer] = {}
    for attribute, nodes in by_weight.items():
        path = name_of(traced, nodes[0])
        name = _free(names.get(path, path), layers)
        weight = channels_first(nodes[0], traced.constants[attribute])
        layers[name] = Layer(
            name,
            kind_of(nodes[0], weight),
            weight.numel(),
            sum(macs_of(node, traced.constants[attribute], values) for node in nodes),
            tuple(weight.shape),
            tuple(node.name for node in nodes),
            attribute,
        )
    return layers


def _free(name: str, taken: Mapping[str, Any]) -> str:
    number, free = 2, name
    while free in taken:
        free, number = f"{name}#{number}", number + 1
    return free


def find_skipped(
    traced: Traced, layers: Mapping[str, Layer], parameters: Mapping[str, Tensor]
) -> dict[str, str]:
    """Every parameter of two or more dimensions that is not (part of) a layer's weight, and why."""
    held = {layer.attribute for layer in layers.values()}
    inside = {name for attribute in held for name in traced.sources[attribute]}
    users: dict[str, str] = {}
    for node in traced.graph.nodes:
        if node.op == "get_attr" and node.target not in held:
            used = ", ".join(dict.fromkeys(_operator(user) for user in node.users))
            for name in traced.sources[str(node.target)]:
                users.setdefault(name, f"used by {used}, not as the weight of a layer")
    return {
        name: users.get(name, "not used in eval mode")
        for name, value in parameters.items()
        if value.ndim >= 2 and name not in inside
    }


def _operator(node: fx.Node) -> str:
    return str(node.target).removeprefix("aten.").partition(".")[0]
