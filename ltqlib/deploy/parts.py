"""What a quantized model is made of when it leaves the library, and offsets folded into it."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, fx

from ltqlib.errors import InputError
from ltqlib.quantization import Quantized
from ltqlib.quantization.sites import bias_of


def bias_at(quantized: Quantized, site: fx.Node) -> Tensor | None:
    """The bias (C_out,) at a site with its correction added; None if there is neither."""
    bias, correction = bias_of(quantized.graph, site), quantized.biases.get(site.name)
    if bias is None or correction is None:
        return correction if bias is None else bias
    return bias + correction.to(bias)


def integer_biases(quantized: Quantized) -> Quantized:
    """The same model with biases as integer arithmetic keeps them.

    A layer whose weight and input are both quantized gets its bias rounded to a multiple of
    ``input scale * weight scale`` (Jacob et al., 2018, section 2.4): what ONNX Runtime does.
    """
    graph, biases = quantized.graph, dict(quantized.biases)
    for layer, variant in quantized.variants.items():
        if variant.weight is None or variant.input is None:
            continue
        step = variant.weight.qparams.scale * variant.input.scale
        for site in graph.layers[layer].sites:
            bias = bias_at(quantized, graph.node(site))
            if bias is not None:
                change = torch.round(bias / step) * step - bias
                biases[site] = biases[site] + change if site in biases else change
    return Quantized(graph, quantized.variants, quantized.method, biases)


def fold_offsets(quantized: Quantized, offsets: Any) -> Quantized:
    """The same model with one offset a class added to its logits, in the last layer's bias.

    The offsets are those of a repair (:func:`ltqlib.match_shares`): the model that is saved or
    exported carries them at no cost.

    Args:
        quantized: a model that ends in a linear layer.
        offsets: (classes,), added to the logits.

    Raises:
        InputError: not one finite number a class, or a model that does not end in a linear layer.
    """
    graph = quantized.graph
    values: npt.NDArray[np.float32] = np.array(offsets, dtype=np.float32)
    if values.shape != (graph.classes,) or not np.isfinite(values).all():
        raise InputError(
            f"offsets have shape {values.shape}, the model has {graph.classes} classes: give one "
            "finite number a class"
        )
    last = graph.output
    if last.name not in graph.sites or graph.layers[graph.sites[last.name]].kind != "linear":
        raise InputError(
            f"the model ends in {last.target}, not in a linear layer: its logits have no bias that "
            "offsets fold into"
        )
    added = torch.from_numpy(values).to(graph.device)
    biases = dict(quantized.biases)
    biases[last.name] = biases[last.name] + added if last.name in biases else added
    return Quantized(graph, quantized.variants, quantized.method, biases)
