"""Torch's operators in ONNX: one table, from an operator to what writes it.

A function of the table gets the :class:`~ltqlib.deploy.writer.Writer` and the node, and returns the
name of the value that it wrote. To add an operator, add a function with ``@translates``, or a row
where the two differ in their names alone.
"""

import math
import operator
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from ltqlib.deploy.writer import Translate, Writer, missing
from ltqlib.models.layers import CONVOLUTIONS, LINEAR, PRODUCTS, TRANSPOSED, argument

aten = torch.ops.aten
TABLE: dict[Any, Translate] = {}

UNARY = {
    aten.hardsigmoid.default: "HardSigmoid",
    aten.hardswish.default: "HardSwish",
    aten.neg.default: "Neg",
    aten.relu.default: "Relu",
    aten.sigmoid.default: "Sigmoid",
    aten.tanh.default: "Tanh",
}
BINARY = {
    aten.add.Tensor: "Add",
    aten.div.Tensor: "Div",
    aten.mul.Tensor: "Mul",
    aten.sub.Tensor: "Sub",
}
SIZES = {operator.add: "Add", operator.floordiv: "Div", operator.mul: "Mul", operator.sub: "Sub"}
FOLLOWS = {*UNARY, *(aten.hardtanh.default, aten.silu.default, aten.gelu.default, aten.add.Tensor)}
SAME = (aten.alias.default, aten.clone.default, aten.contiguous.default, aten.dropout.default)


def translates(*targets: Any) -> Callable[[Translate], Translate]:
    """Put a function into the table."""

    def keep(function: Translate) -> Translate:
        TABLE.update(dict.fromkeys(targets, function))
        return function

    return keep


def _shape(node: Any) -> list[Any]:
    return list(node.meta["val"].shape)


def _each(node: Any, name: str, count: int) -> list[int]:
    """An argument for every one of ``count`` axes of the image."""
    found = argument(node, name)
    found = [found] if isinstance(found, int) else list(found)
    return found * count if len(found) == 1 else found


@translates(*UNARY)
def _unary(w: Writer, node: Any) -> str:
    slope = {"alpha": 1 / 6} if node.target == aten.hardsigmoid.default else {}
    return w.add(UNARY[node.target], w.value(node.args[0]), **slope)


@translates(*BINARY)
def _binary(w: Writer, node: Any) -> str:
    if argument(node, "alpha") not in (None, 1):
        raise missing(node, "its alpha is not 1")
    dtype = w.dtype(node)
    sides = [w.cast(x, dtype) if isinstance(x, fx.Node) else w.scalar(x, dtype) for x in node.args]
    return w.add(BINARY[node.target], *sides)


@translates(*SIZES)
def _size_arithmetic(w: Writer, node: Any) -> str:
    sides = [w.value(x) if isinstance(x, fx.Node) else w.ints([x]) for x in node.args]
    return w.add(SIZES[node.target], *sides)


@translates(aten.sym_size.int)
def _size(w: Writer, node: Any) -> str:
    dim = node.args[1]
    return w.add("Shape", w.value(node.args[0]), start=dim, end=dim + 1)


@translates(*SAME)
def _same(w: Writer, node: Any) -> str:
    return w.value(node.args[0])


@translates(aten._to_copy.default)
def _to_copy(w: Writer, node: Any) -> str:
    return w.cast(node.args[0], w.dtype(node))


@translates(aten.hardtanh.default, aten.clamp.default)
def _clip(w: Writer, node: Any) -> str:
    names = ("min_val", "max_val") if node.target == aten.hardtanh.default else ("min", "max")
    ends = [argument(node, name) for name in names]
    scalars = ["" if end is None else w.scalar(end, w.dtype(node)) for end in ends]
    return w.add("Clip", w.value(node.args[0]), *scalars)


@translates(aten.silu.default)
def _silu(w: Writer, node: Any) -> str:
    x = w.value(node.args[0])
    return w.add("Mul", x, w.add("Sigmoid", x))


@translates(aten.gelu.default)
def _gelu(w: Writer, node: Any) -> str:
    return w.add("Gelu", w.value(node.args[0]), approximate=argument(node, "approximate"))


@translates(aten.softmax.int, aten._softmax.default)
def _softmax(w: Writer, node: Any) -> str:
    return w.add("Softmax", w.value(node.args[0]), axis=node.args[1])


@translates(*CONVOLUTIONS, *TRANSPOSED)
def _convolution(w: Writer, node: Any) -> str:
    if node.name not in w.graph.sites:
        raise missing(node, "its weight depends on the images")
    swapped = node.target in TRANSPOSED
    if swapped and argument(node, "groups") > 1:
        raise missing(node, "a transposed convolution with groups")
    bias, count = w.bias(node), len(_shape(node)) - 2
    inputs = [w.input(node), w.weight(node, swapped), *([bias] if bias else [])]
    attributes: dict[str, Any] = {
        "strides": _each(node, "stride", count),
        "dilations": _each(node, "dilation", count),
        "group": argument(node, "groups"),
    }
    if isinstance(argument(node, "padding"), str):
        auto = {"same": "SAME_UPPER", "valid": "VALID"}
        attributes["auto_pad"] = auto[argument(node, "padding")]
    else:
        attributes["pads"] = _each(node, "padding", count) * 2
    if swapped:
        attributes["output_padding"] = _each(node, "output_padding", count)
    return w.add("ConvTranspose" if swapped else "Conv", *inputs, **attributes)


@translates(*LINEAR, *PRODUCTS, aten.bmm.default)
def _linear(w: Writer, node: Any) -> str:
    if node.name not in w.graph.sites:
        if node.target in LINEAR:
            raise missing(node, "its weight depends on the images")
        return w.add("MatMul", *map(w.value, node.args))
    bias, x = w.bias(node), w.input(node)
    if len(_shape(node)) == 2:
        return w.add("Gemm", x, w.weight(node), *([bias] if bias else []), transB=1)
    y = w.add("MatMul", x, w.weight(node, swapped=True))
    return w.add("Add", y, bias) if bias else y


@translates(aten.scaled_dot_product_attention.default)
def _attention(w: Writer, node: Any) -> str:
    """Vaswani et al., 2017, eq. 1."""
    if argument(node, "attn_mask") is not None or argument(node, "is_causal"):
        raise missing(node, "attention with a mask")
    query, key, value = map(w.value, node.args[:3])
    shape, scale = _shape(node.args[1]), argument(node, "scale")
    *rest, last, features = range(len(shape))
    factor = scale if scale is not None else 1 / math.sqrt(shape[-1])
    turned = w.add("Transpose", key, perm=[*rest, features, last])
    scores = w.add("MatMul", w.add("Mul", query, w.scalar(factor)), turned)
    return w.add("MatMul", w.add("Softmax", scores, axis=-1), value)


@translates(aten.batch_norm.default)
def _batch_norm(w: Writer, node: Any) -> str:
    if argument(node, "training") or None in node.args[1:5]:
        raise missing(node, "a BatchNorm without weight, bias or running statistics")
    return w.add("BatchNormalization", *map(w.value, node.args[:5]), epsilon=argument(node, "eps"))


@translates(aten.layer_norm.default)
def _layer_norm(w: Writer, node: Any) -> str:
    parts = (node.args[0], argument(node, "weight"), argument(node, "bias"))
    if parts[1] is None:
        raise missing(node, "a LayerNorm without a weight")
    axis, epsilon = -len(argument(node, "normalized_shape")), argument(node, "eps")
    inputs = [w.value(part) for part in parts if part is not None]
    return w.add("LayerNormalization", *inputs, axis=axis, epsilon=epsilon)


@translates(aten.max_pool2d.default, aten.avg_pool2d.default)
def _pool(w: Writer, node: Any) -> str:
    kind, kernel = "MaxPool", _each(node, "kernel_size", 2)
    attributes: dict[str, Any] = {
        "kernel_shape": kernel,
        "strides": _each(node, "stride", 2) or kernel,
        "pads": _each(node, "padding", 2) * 2,
        "ceil_mode": int(argument(node, "ceil_mode")),
    }
    if node.target == aten.max_pool2d.default:
        attributes["dilations"] = _each(node, "dilation", 2)
    elif argument(node, "divisor_override") is None:
        kind = "AveragePool"
        attributes["count_include_pad"] = int(argument(node, "count_include_pad"))
    else:
        raise missing(node, "a pooling with a divisor of its own")
    return w.add(kind, w.value(node.args[0]), **attributes)


@translates(aten.adaptive_avg_pool2d.default)
def _adaptive_pool(w: Writer, node: Any) -> str:
    before, after = _shape(node.args[0])[-2:], _shape(node)[-2:]
    if after == [1, 1]:
        return w.add("GlobalAveragePool", w.value(node.args[0]))
    kernel = [b // a for b, a in zip(before, after, strict=True)]
    if [k * a for k, a in zip(kernel, after, strict=True)] != before:
        raise missing(node, f"pooling from {before} to {after} has windows of several sizes")
    return w.add("AveragePool", w.value(node.args[0]), kernel_shape=kernel, strides=kernel)


@translates(aten.mean.dim)
def _mean(w: Writer, node: Any) -> str:
    axes, keep = w.ints(argument(node, "dim")), int(argument(node, "keepdim"))
    return w.add("ReduceMean", w.value(node.args[0]), axes, keepdims=keep)


@translates(aten.reshape.default)
def _reshape(w: Writer, node: Any) -> str:
    return w.add("Reshape", w.value(node.args[0]), w.sizes(node.args[1], infer=True))


@translates(aten.expand.default)
def _expand(w: Writer, node: Any) -> str:
    wanted = [1 if size == -1 else size for size in node.args[1]]  # 1 leaves a size as it is
    return w.add("Expand", w.value(node.args[0]), w.sizes(wanted))


@translates(aten.permute.default)
def _permute(w: Writer, node: Any) -> str:
    count = len(_shape(node))
    return w.add("Transpose", w.value(node.args[0]), perm=[d % count for d in node.args[1]])


@translates(aten.transpose.int)
def _transpose(w: Writer, node: Any) -> str:
    axes = list(range(len(_shape(node))))
    first, second = node.args[1:]
    axes[first], axes[second] = axes[second], axes[first]
    return w.add("Transpose", w.value(node.args[0]), perm=axes)


@translates(aten.unsqueeze.default)
def _unsqueeze(w: Writer, node: Any) -> str:
    return w.add("Unsqueeze", w.value(node.args[0]), w.ints([node.args[1]]))


@translates(aten.squeeze.dim, aten.squeeze.dims)
def _squeeze(w: Writer, node: Any) -> str:
    dims = [node.args[1]] if isinstance(node.args[1], int) else node.args[1]
    ones = [d for d in dims if _shape(node.args[0])[d] == 1]
    return w.add("Squeeze", w.value(node.args[0]), w.ints(ones)) if ones else w.value(node.args[0])


@translates(aten.cat.default)
def _cat(w: Writer, node: Any) -> str:
    parts = [w.cast(part, w.dtype(node)) for part in node.args[0]]
    return w.add("Concat", *parts, axis=argument(node, "dim"))


@translates(aten.select.int)
def _select(w: Writer, node: Any) -> str:
    index = w.scalar(node.args[2], torch.int64)
    return w.add("Gather", w.value(node.args[0]), index, axis=node.args[1])


@translates(aten.slice.Tensor)
def _slice(w: Writer, node: Any) -> str:
    start, end, step = (argument(node, name) for name in ("start", "end", "step"))
    start, end = 0 if start is None else start, sys.maxsize if end is None else end
    if (start, end, step) == (0, sys.maxsize, 1):
        return w.value(node.args[0])
    places = [w.sizes([start]), w.sizes([end]), w.ints([argument(node, "dim")]), w.ints([step])]
    return w.add("Slice", w.value(node.args[0]), *places)


@translates(aten.pad.default)
def _pad(w: Writer, node: Any) -> str:
    modes = {"constant": "constant", "reflect": "reflect", "replicate": "edge"}
    ends, mode = list(argument(node, "pad")), argument(node, "mode")
    if mode not in modes:
        raise missing(node, f"padding {mode!r}")
    untouched = [0] * (len(_shape(node)) - len(ends) // 2)
    pads = [*untouched, *ends[-2::-2], *untouched, *ends[-1::-2]]
    value = argument(node, "value")
    filled = w.scalar(0.0 if value is None else value, w.dtype(node))
    return w.add("Pad", w.value(node.args[0]), w.ints(pads), filled, mode=modes[mode])
