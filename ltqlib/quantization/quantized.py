"""A quantized model: called like the original, and able to say what it is."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor, nn

from ltqlib.quantization.grids import QParams, fake_quantize
from ltqlib.quantization.types import BitConfig, Bits, Variant

if TYPE_CHECKING:
    from ltqlib.models.graph import Graph


class FakeQuantize(nn.Module):
    """Rounds a layer's input to a per-tensor grid; any shape."""

    scale: Tensor
    zero_point: Tensor

    def __init__(self, grid: QParams) -> None:
        super().__init__()
        self.register_buffer("scale", grid.scale.clone())
        self.register_buffer("zero_point", grid.zero_point.clone())
        self.quant_min, self.quant_max = grid.quant_min, grid.quant_max

    def forward(self, x: Tensor) -> Tensor:
        """float32, shape of ``x``."""
        return fake_quantize(
            x, QParams(self.scale, self.zero_point, self.quant_min, self.quant_max)
        )


class Quantized(nn.Module):
    """A graph with some of its layers in quantized form, computed in float32 arithmetic.

    It is called like the module that the graph was traced from and gives logits (B, C). Weights
    are dequantized once; inputs are rounded on every call.

    Args:
        graph: the float model.
        variants: layers in quantized form; layers that are not named stay float.
        method: name of the method that made it.
    """

    def __init__(self, graph: "Graph", variants: Mapping[str, Variant], method: str = "") -> None:
        super().__init__()
        self.variants = dict(variants)
        self.layers = list(graph.layers)
        self.method = method
        weights = {n: v.weight.dequantize() for n, v in variants.items() if v.weight is not None}
        inputs = {n: FakeQuantize(v.input) for n, v in variants.items() if v.input is not None}
        self.model = graph.module(weights, inputs)
        self.inputs = nn.ModuleList(inputs.values())  # so that `to` moves their grids
        self.eval()

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits (B, C) of a batch as the original takes it."""
        return self.model(pixels)

    @property
    def bit_config(self) -> BitConfig:
        """Widths of every layer, in order of execution; None is float32."""
        return {n: self.variants[n].bits if n in self.variants else Bits() for n in self.layers}

    @property
    def model_size(self) -> int:
        """Bytes of the model on disk.

        Quantized weights are packed at their width and come with four bytes a scale and one a zero
        point (none where the grid is symmetric); all else (biases, float layers, constants) is as
        in the float model.
        """
        grids = {id(buffer) for module in self.inputs for buffer in module.buffers()}
        tensors = {id(t): t for t in [*self.model.parameters(), *self.model.buffers()]}
        floats = sum(t.numel() * t.element_size() for key, t in tensors.items() if key not in grids)
        for variant in self.variants.values():
            if variant.weight is not None:
                floats += variant.weight.nbytes - 4 * variant.weight.integers.numel()
            if variant.input is not None:
                floats += variant.input.nbytes
        return floats

    def extra_repr(self) -> str:
        """Method, widths and size, for printing."""
        widths = {bits.weight_bits for bits in self.bit_config.values()} - {None}
        which = ", ".join(str(bits) for bits in sorted(widths)) or "no"  # type: ignore[type-var]
        return f"method={self.method!r}, weight_bits={which}, {self.model_size:,} bytes"
