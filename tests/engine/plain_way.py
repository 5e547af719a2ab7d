"""Models with random weights, variants of their layers, and the plain way."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ltqlib.models import Graph
from ltqlib.quantization.grids import choose_qparams, fake_quantize
from ltqlib.quantization.types import QTensor, Variant
from ltqlib.training.devices import convolves_bf16

FLOAT = 32
BF16 = convolves_bf16(torch.device("cpu"))
PRECISIONS = ("float32", "bfloat16", "auto") if BF16 else ("float32", "auto")
needs_bf16 = pytest.mark.skipif(not BF16, reason="this processor has no bfloat16 convolution")


def ready(module: nn.Module, images: Tensor) -> nn.Module:
    """In eval mode, BatchNorms with statistics of their own, and no class that wins everywhere."""
    generator = torch.Generator().manual_seed(0)
    norms = [p for p in module.modules() if isinstance(p, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = 1.0  # the statistics of one batch, so that signals neither die nor grow
        if norm.affine:
            norm.weight.data.uniform_(0.5, 1.5, generator=generator)
            norm.bias.data.normal_(0, 0.1, generator=generator)
    if norms:
        with torch.no_grad():
            module.train()(images)
    module.eval()
    heads = [part for part in module.modules() if isinstance(part, nn.Linear)]
    if heads and heads[-1].bias is not None and heads[-1].weight.numel():
        nn.init.normal_(heads[-1].weight, std=heads[-1].in_features ** -0.5, generator=generator)
        with torch.no_grad():
            heads[-1].bias -= module(images).mean(0)
    return module


def weight_variants(graph: Graph, widths: Sequence[int]) -> dict[str, dict[int, Variant]]:
    """Every layer's weight on one symmetric min-max grid a tensor."""
    found: dict[str, dict[int, Variant]] = {}
    for name in graph.layers:
        weight = graph.weight(name)
        grids = {b: choose_qparams(weight.amin(), weight.amax(), b, True) for b in widths}
        found[name] = {b: Variant(QTensor.quantize(weight, grid)) for b, grid in grids.items()}
    return found


def input_variants(
    graph: Graph, images: np.ndarray | Tensor, widths: Sequence[int]
) -> dict[str, dict[int, Variant]]:
    """The same with every layer's input on an asymmetric min-max grid."""
    samples, found = graph.sample_inputs(images), weight_variants(graph, widths)
    return {
        name: {
            bits: Variant(
                variant.weight,
                choose_qparams(samples[name].amin(), samples[name].amax(), bits, False),
            )
            for bits, variant in by_width.items()
        }
        for name, by_width in found.items()
    }


def one_layer_at_a_time(graph: Graph, widths: Sequence[int]) -> np.ndarray:
    """The float model, then each layer alone at each width, (1 + layers * widths, layers)."""
    layers = len(graph.layers)
    rows = np.full((1 + layers * len(widths), layers), FLOAT)
    for number, (layer, bits) in enumerate(np.ndindex(layers, len(widths)), start=1):
        rows[number, layer] = widths[bits]
    return rows


def plain(
    graph: Graph,
    variants: Mapping[str, Mapping[int, Variant]],
    rows: np.ndarray,
    images: np.ndarray | Tensor,
) -> np.ndarray:
    """The plain way: logits (rows, N, C) of one module for each configuration."""

    def rounding(grid) -> Callable[[Tensor], Tensor]:
        return lambda x: fake_quantize(x, grid)

    logits, module, pixels = [], graph.module(), graph.pixels(images)
    for row in rows.tolist():
        named = zip(graph.layers, row, strict=True)
        chosen = {n: variants[n][b] for n, b in named if b not in (0, FLOAT)}
        weights = {n: v.weight.dequantize() for n, v in chosen.items() if v.weight is not None}
        inputs = {n: rounding(v.input) for n, v in chosen.items() if v.input is not None}
        held = {graph.layers[n].attribute: graph.held(n, w) for n, w in weights.items()}
        changed = graph.module(inputs=inputs) if inputs else module
        with torch.no_grad():
            logits.append(torch.func.functional_call(changed, held, (pixels,)))
    return torch.stack(logits).numpy()


def pictures(count: int, side: int) -> np.ndarray:
    """uint8 (count, side, side, 3): blocks of colour and noise, so that no two look alike."""
    generator = np.random.default_rng(0)
    blocks = generator.integers(0, 200, (count, 4, 4, 3)).repeat(side // 4, 1).repeat(side // 4, 2)
    return (blocks + generator.integers(0, 56, (count, side, side, 3))).astype(np.uint8)


def all_logits(logits: Tensor) -> dict[str, Tensor]:
    """A reducer that keeps everything."""
    return {"logits": logits}
