"""``quantize``: from any torch classifier to a quantized model in one call."""

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from ltqlib.config import brief
from ltqlib.errors import InputError
from ltqlib.models.graph import Graph
from ltqlib.quantization.methods import LocalMethod, Method, get
from ltqlib.quantization.quantized import Quantized
from ltqlib.quantization.types import Variant, widths_of


def quantize(
    module: nn.Module | Graph,
    bits: int | Mapping[str, int] = 8,
    example: Tensor | None = None,
    method: str | Method = "w-tensor",
    calibration: Any = None,
) -> Quantized:
    """Quantize a classifier after training; what comes back is called like it.

    Args:
        module: a torch classifier (images in, logits (B, C) out), or its traced graph.
        bits: 2..8, one width for every layer or ``{layer: bits}`` (layers not named stay float32).
        example: a batch of images as the module takes them; not needed for a graph.
        method: name of a registered method (:func:`ltqlib.quantization.methods.names`), or one.
        calibration: images for methods that need them, as ``Graph.sample_inputs`` takes them.

    Returns:
        a model that knows its ``variants``, ``bit_config`` and ``model_size``.

    Raises:
        InputError: bits outside 2..8, an unknown layer or method, a module without an example,
            no calibration images where the method needs them, or a module that cannot be traced.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3))
        >>> images = torch.rand(5, 3, 2, 2)
        >>> small = quantize(net, bits=4, example=images)
        >>> small(images).shape, small.bit_config
        (torch.Size([5, 3]), {'1': Bits(weight_bits=4, act_bits=None)})
    """
    chosen = get(method)
    if isinstance(module, Graph):
        graph = module
    elif example is None:
        raise InputError("a module is traced with a batch of images: give example=<images>")
    elif not isinstance(module, nn.Module):
        raise InputError(f"quantize takes a torch module or its graph, not {brief(module)}")
    else:
        graph = Graph.trace(module, example)
    return chosen.quantize(graph, widths_of(bits, graph.layers), calibration)


def variants(
    graph: Graph, bits: Iterable[int], method: str | Method = "w-tensor", calibration: Any = None
) -> dict[str, dict[int, Variant]]:
    """Layers in quantized form at several widths, ``{layer: {bits: variant}}``.

    Args:
        graph: the float model.
        bits: widths, each 2..8.
        method: name of a local method, or one.
        calibration: images for methods that need them, as ``Graph.sample_inputs`` takes them.

    Raises:
        InputError: a method that is not local, bits outside 2..8, no calibration images where the
            method needs them.
    """
    chosen = get(method)
    if not isinstance(chosen, LocalMethod):
        raise InputError(
            f"method {chosen.name!r} is not local: a layer has no form of its own at some bits"
        )
    samples = chosen.samples(graph, calibration)
    bits = list(dict.fromkeys(bits))
    return {n: {b: chosen.variant(graph, n, b, samples.get(n)) for b in bits} for n in graph.layers}
