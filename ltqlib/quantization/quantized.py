"""A quantized model: called like the original, and able to say what it is."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor, nn

from ltqlib.quantization.grids import QParams, fake_quantize
from ltqlib.quantization.sites import behind_sites, channel_dim, own_bias
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


class Shift(nn.Module):
    """Adds ``values`` (C,) to a layer's output along its channels, dimension ``dim``."""

    values: Tensor

    def __init__(self, values: Tensor, dim: int) -> None:
        super().__init__()
        self.register_buffer("values", values.detach().clone())
        self.dim = dim

    def forward(self, y: Tensor) -> Tensor:
        """Shape of ``y``."""
        return (y.movedim(self.dim, -1) + self.values).movedim(-1, self.dim)


class Quantized(nn.Module):
    """A graph with some of its layers in quantized form, computed in float32 arithmetic.

    It is called like the module that the graph was traced from and gives logits (B, C). Weights
    are dequantized once; inputs are rounded on every call.

    Args:
        graph: the float model.
        variants: layers in quantized form; layers that are not named stay float.
        method: name of the method that made it.
        biases: site of a layer -> what is added to its bias, (C_out,), or is its bias where it has
            none.
    """

    def __init__(
        self,
        graph: "Graph",
        variants: Mapping[str, Variant],
        method: str = "",
        biases: Mapping[str, Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.variants, self.biases = dict(variants), dict(biases or {})
        self.graph, self.layers, self.method = graph, list(graph.layers), method
        weights = {
            name: variant.weight.dequantize().to(graph.weight(name))
            for name, variant in variants.items()
            if variant.weight is not None
        }
        inputs = {n: FakeQuantize(v.input) for n, v in variants.items() if v.input is not None}
        shifts = {site: Shift(b, channel_dim(graph, site)) for site, b in self.biases.items()}
        self.model = behind_sites(graph.module(weights, inputs), shifts)
        self.inputs = nn.ModuleList(inputs.values())  # so that `to` moves their grids
        new = [site for site in shifts if own_bias(graph, graph.node(site)) is None]
        self._new_biases = sum(self.biases[site].numel() for site in new)
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
        in the float model, and corrections are part of the biases.
        """
        added = [m for m in self.modules() if isinstance(m, (FakeQuantize, Shift))]
        apart = {id(buffer) for module in added for buffer in module.buffers()}
        tensors = {id(t): t for t in [*self.model.parameters(), *self.model.buffers()]}
        floats = sum(t.numel() * t.element_size() for key, t in tensors.items() if key not in apart)
        floats += 4 * self._new_biases
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
