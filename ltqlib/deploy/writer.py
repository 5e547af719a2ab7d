"""An ONNX graph in the making: names, constants, and the grids of a quantized model's layers."""

from collections.abc import Callable, Container, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, fx

from ltqlib.deploy.parts import bias_at
from ltqlib.errors import InputError
from ltqlib.models.layers import module_of
from ltqlib.quantization import QParams, Quantized

# writes a node (an fx.Node, its arguments are anything) and returns the name of its value
Translate = Callable[["Writer", Any], str]
Table = Mapping[Any, Translate]


class Writer:
    """An ONNX graph in the making; methods return the names of values."""

    def __init__(self, quantized: Quantized, int4: bool = True) -> None:
        self.quantized, self.graph, self.int4 = quantized, quantized.graph, int4
        self.nodes: list[Any] = []
        self.initializers: dict[str, Any] = {}
        self.dtypes: dict[str, str] = {}
        self._names: dict[fx.Node, str] = {}
        self._weights: dict[tuple[str, bool], str] = {}
        self._owners: dict[fx.Node, str] = {}
        self._here, self._taken = "", set[str]()

    def write(self, table: Table, follows: Container[Any]) -> None:
        """Translate every node of the graph, in order.

        Args:
            table: what writes each operator.
            follows: operators whose nodes belong to the layer that they read.
        """
        for node in self.graph.traced.graph.nodes:
            if node.op == "placeholder":
                self._names[node] = "images"
            elif node.op == "call_function":
                if node.target not in table:
                    raise missing(node, "the exporter has no such operator")
                self._here = self._owner(node, node.target in follows)
                self._names[node] = table[node.target](self, node)
        self._here = "logits"
        last = self.cast(self.graph.output, torch.float32)
        self.nodes.append(_node("Identity", [last], ["logits"], "logits"))
        self._drop_unread()

    def _drop_unread(self) -> None:
        """Without the nodes that nothing reads: sizes that a Reshape infers."""
        read, kept = {"logits"}, []
        for node in reversed(self.nodes):
            if read.intersection(node.output):
                kept.append(node)
                read.update(node.input)
        self.nodes = kept[::-1]

    def _owner(self, node: fx.Node, follows: bool) -> str:
        """The layer of a node: its own, or the last whose output it activates or sums."""
        owners = {self.graph.sites[node.name]} if node.name in self.graph.sites else set()
        if follows:
            read = [n for n in node.all_input_nodes if len(n.users) == 1]
            owners = {self._owners[n] for n in read if n in self._owners}
        if not owners:
            return node.name
        self._owners[node] = max(owners, key=list(self.graph.layers).index)
        return self._owners[node]

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """One more node; the name of its output, which is the node's name as well."""
        name, number = f"{self._here}/{kind}", 2
        while name in self._taken:
            name, number = f"{self._here}/{kind}_{number}", number + 1
        self._taken.add(name)
        self.nodes.append(_node(kind, list(inputs), [name], name, **attributes))
        return name

    def constant(self, name: str, values: Any, kind: str | None = None) -> str:
        """A constant; ``kind`` is that of integers on a grid: INT4, UINT4, INT8, UINT8."""
        if name not in self.initializers:
            self.initializers[name] = _tensor(name, np.asarray(values), kind)
        return name

    def ints(self, values: Any) -> str:
        """int64 constants, (len(values),)."""
        return self.constant(f"int64{list(values)}".replace(" ", ""), np.array(values, np.int64))

    def scalar(self, value: float, dtype: torch.dtype = torch.float32) -> str:
        """A constant of shape ()."""
        array = torch.tensor(value, dtype=dtype).numpy()
        return self.constant(f"{array.dtype}({value})", array)

    def value(self, node: Any) -> str:
        """What a node of the graph computes, or the constant that it is."""
        constant = self.graph.traced.constant(node)
        if constant is None:
            return self._names[node]
        layer = next((x for x in self.graph.layers.values() if x.attribute == node.target), None)
        if layer is not None and layer.name in self.quantized.variants:
            raise missing(node, "a quantized weight is used outside of its layer")
        return self.constant(str(node.target), _array(constant))

    def dtype(self, node: fx.Node) -> torch.dtype:
        """Of what a node computes."""
        constant = self.graph.traced.constant(node)
        return node.meta["val"].dtype if constant is None else constant.dtype

    def cast(self, node: fx.Node, dtype: torch.dtype) -> str:
        """What a node computes, in a dtype."""
        name = self.value(node)
        same = self.dtype(node) == dtype
        return name if same else self.add("Cast", name, to=onnx_type(dtype))

    def sizes(self, values: Any, infer: bool = False) -> str:
        """Sizes, some of which the graph computes, as int64 (len(values),).

        Args:
            infer: the only one that is computed may be -1.
        """
        computed = [value for value in values if not isinstance(value, int)]
        if infer and len(computed) == 1 and -1 not in values:
            values, computed = [v if isinstance(v, int) else -1 for v in values], []
        if not computed:
            return self.ints(values)
        parts = [self.ints([v]) if isinstance(v, int) else self.value(v) for v in values]
        return self.add("Concat", *parts, axis=0)

    def input(self, site: fx.Node) -> str:
        """The input of a layer, rounded to its grid if it has one."""
        x, variant = self.value(site.args[0]), self.quantized.variants.get(self._here)
        if variant is None or variant.input is None:
            return x
        grid, kind = variant.input, _integers(variant.input, 8)
        low, high = (-128, 127) if kind == "INT8" else (0, 255)
        if (grid.quant_min, grid.quant_max) != (low, high):
            ends = (torch.tensor([grid.quant_min, grid.quant_max]) - grid.zero_point) * grid.scale
            cuts = [self.scalar(float(end)) for end in ends]
            x = self.add("Clip", x, *cuts)
        scale, zero = self._grid(f"{self._here}.input", grid, kind)
        return self.add("DequantizeLinear", self.add("QuantizeLinear", x, scale, zero), scale, zero)

    def weight(self, site: fx.Node, swapped: bool = False) -> str:
        """The weight of a layer, (C_out, C_in / groups, ...); ``swapped`` exchanges these two."""
        layer = self.graph.layers[self._here]
        variant = self.quantized.variants.get(layer.name)
        name = f"{layer.attribute}.swapped" if swapped else layer.attribute
        if variant is None or variant.weight is None:
            weight = self.graph.weight(layer.name)
            return self.constant(name, _array(weight.transpose(0, 1) if swapped else weight))
        if (layer.name, swapped) not in self._weights:
            integers, grid = variant.weight.integers, variant.weight.qparams
            kind = _integers(grid, grid.bits if self.int4 else 8)
            self.dtypes[layer.name] = kind.lower()
            held = _array(integers.transpose(0, 1) if swapped else integers)
            stored = self.constant(name, held, kind)
            scale, zero = self._grid(layer.attribute, grid, kind)
            axis = {"axis": int(swapped)} if grid.per_channel else {}
            found = self.add("DequantizeLinear", stored, scale, zero, **axis)
            self._weights[layer.name, swapped] = found
        return self._weights[layer.name, swapped]

    def bias(self, site: fx.Node) -> str | None:
        """The bias of a layer with its correction, if there is one."""
        bias = bias_at(self.quantized, site)
        return None if bias is None else self.constant(f"{site.name}.bias", _array(bias))

    def _grid(self, name: str, grid: QParams, kind: str) -> tuple[str, str]:
        scale = self.constant(f"{name}.scale", _array(grid.scale.float()))
        return scale, self.constant(f"{name}.zero_point", _array(grid.zero_point), kind)


def missing(node: fx.Node, why: str) -> InputError:
    """The one line on an operator that cannot be exported."""
    where = f" (in {module_of(node)})" if module_of(node) else ""
    return InputError(f"{node.target}{where} cannot be exported to ONNX: {why}")


def _node(*arguments: Any, **attributes: Any) -> Any:
    from onnx import helper

    return helper.make_node(*arguments, **attributes)


def _integers(grid: QParams, bits: int) -> str:
    """ONNX's smallest integers that hold a grid."""
    return ("INT" if grid.quant_min < 0 else "UINT") + ("4" if bits <= 4 else "8")


def _tensor(name: str, array: npt.NDArray[Any], kind: str | None) -> Any:
    from onnx import TensorProto, helper

    content = array if kind is None else array.astype(kind.lower().replace("4", "8"))
    dtype = helper.np_dtype_to_tensor_dtype(content.dtype)
    if kind in ("INT4", "UINT4"):  # two in a byte, the first in its lower half
        dtype = getattr(TensorProto, kind)
        nibbles = np.append(content, np.zeros(content.size % 2, content.dtype)).view(np.uint8) & 15
        content = nibbles[::2] | nibbles[1::2] << 4
    return helper.make_tensor(name, dtype, array.shape, content.tobytes(), raw=True)


def onnx_type(dtype: torch.dtype) -> int:
    """ONNX's number of a dtype."""
    from onnx import helper

    return helper.np_dtype_to_tensor_dtype(torch.empty(0, dtype=dtype).numpy().dtype)


def _array(tensor: Tensor) -> npt.NDArray[Any]:
    return tensor.detach().cpu().numpy()
