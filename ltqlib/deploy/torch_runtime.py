"""A quantized model in torch's own kernels: float32, bfloat16, and int8 by torchao's X86 backend.

torchao's flow for exported models (PT2E) chooses its grids with observers of its own. It is not
needed for that: its lowering takes any graph of quantize and dequantize operators, so the graph is
written here with *our* grids and lowered to oneDNN's int8 kernels. Both the graph and the lowered
model compute what the simulator does.
"""

import copy
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx

from ltqlib.deploy.parts import bias_at
from ltqlib.errors import InputError
from ltqlib.quantization import QParams, QTensor, Quantized

aten = torch.ops.aten


def in_torch(
    quantized: Quantized, pixels: Tensor, precision: str, threads: int = 1
) -> Callable[[], Tensor]:
    """A call that computes one batch.

    Args:
        quantized: the model.
        pixels: the batch, as the graph takes it.
        precision: ``float32``, ``bf16`` or ``int8``.
        threads: how many compute.
    """
    makers = {"float32": _float32, "bf16": bf16_module, "int8": int8_module}
    with torch.no_grad():
        module = makers[precision](quantized, pixels)
    if precision == "bf16" and pixels.is_floating_point():
        pixels = pixels.bfloat16()

    def run() -> Tensor:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            with torch.inference_mode():
                return module(pixels)
        finally:
            torch.set_num_threads(before)

    return run


def _float32(quantized: Quantized, pixels: Tensor) -> fx.GraphModule:
    return quantized.model


def bf16_module(quantized: Quantized, pixels: Tensor) -> fx.GraphModule:
    """The model with all its constants, and all that it computes, in bfloat16."""
    module = copy.deepcopy(quantized.model).bfloat16()
    for node in module.graph.nodes:
        if node.target == aten._to_copy.default and node.kwargs.get("dtype") == torch.float32:
            node.kwargs = {**node.kwargs, "dtype": torch.bfloat16}
    module.recompile()
    return module


def qdq_module(quantized: Quantized) -> fx.GraphModule:
    """The model as a graph of ``quantized_decomposed`` operators, with integer weights.

    Raises:
        InputError: a quantized layer without a symmetric weight and an asymmetric input of 8 bits.
    """
    import torch.ao.quantization.fx._decomposed  # noqa: F401 - registers the operators

    graph = quantized.graph
    held: dict[str, Any] = dict(graph.traced.constants)
    copied = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    copied.output(copied.graph_copy(graph.traced.graph, copies))
    for layer, variant in quantized.variants.items():
        weight, grid = variant.weight, variant.input
        ranges = (grid.quant_min, grid.quant_max) if grid else None
        if weight is None or not weight.qparams.symmetric or grid is None or ranges != (0, 255):
            raise InputError(f"layer {layer!r} has no symmetric weight with an input of 8 bits")
        for site in map(graph.node, graph.layers[layer].sites):
            bias = bias_at(quantized, site)
            _quantize_site(copied, copies[site], held, weight, grid, bias)
    return fx.GraphModule(held, copied).eval()


def _quantize_site(
    graph: fx.Graph,
    node: fx.Node,
    held: dict[str, Any],
    weight: QTensor,
    grid: QParams,
    bias: Tensor | None,
) -> None:
    """Dequantize the weight at a site, and quantize and dequantize its input, in place."""
    ops, site = torch.ops.quantized_decomposed, node.name
    channels = weight.integers.shape[0]
    held[f"{site}_integers"] = weight.integers
    held[f"{site}_scale"] = weight.qparams.scale.expand(channels).clone()
    held[f"{site}_zero_point"] = weight.qparams.zero_point.long().expand(channels).clone()
    at = (float(grid.scale), int(grid.zero_point), grid.quant_min, grid.quant_max, torch.uint8)
    with graph.inserting_before(node):
        names = [graph.get_attr(f"{site}_{part}") for part in ("integers", "scale", "zero_point")]
        w = graph.call_function(
            ops.dequantize_per_channel.default, (*names, 0, -128, 127, torch.int8)
        )
        x = graph.call_function(ops.quantize_per_tensor.default, (node.args[0], *at))
        x = graph.call_function(ops.dequantize_per_tensor.default, (x, *at))
        rest = node.args[2:]
        if bias is not None:
            held[f"{site}_bias"] = bias
            rest = (graph.get_attr(f"{site}_bias"), *node.args[3:])
    node.args = (x, w, *rest)


def int8_module(quantized: Quantized, pixels: Tensor) -> fx.GraphModule:
    """The model lowered to oneDNN's int8 kernels, for batches of the size of ``pixels``.

    Raises:
        InputError: torchao is not installed, or the model has layers that are not in 8 bits.
    """
    module = qdq_module(quantized)
    try:
        from torch._inductor import config
        from torchao.quantization.pt2e.inductor_passes import x86  # type: ignore[import-untyped]
        from torchao.quantization.pt2e.lowering import (  # type: ignore[import-untyped]
            lower_pt2e_quantized_to_x86,
        )
    except ImportError as error:
        raise InputError(
            "torch's int8 needs torchao: install torchao, or use onnxruntime"
        ) from error
    with warnings.catch_warnings(), config.patch(freezing=True):
        warnings.simplefilter("ignore")
        x86._register_quantization_weight_pack_pass()
        return lower_pt2e_quantized_to_x86(module, (pixels,))
