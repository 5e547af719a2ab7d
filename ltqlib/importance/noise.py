"""The noise that quantization adds: to the weights, and to a layer's outputs."""

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from torch import Tensor

from ltqlib.errors import InputError
from ltqlib.importance.model import by_class, checked_labels
from ltqlib.models.graph import Graph
from ltqlib.quantization.grids import fake_quantize
from ltqlib.quantization.sites import apply_site, bias_of, by_image
from ltqlib.quantization.types import Variant

Variants = Mapping[str, Mapping[int, Variant]]  # as quantization.variants makes them


def squared_noise(graph: Graph, variants: Variants) -> xr.DataArray:
    """``||Q(w) - w||**2`` of each layer's weight, (layer, bits).

    Raises:
        InputError: other layers than the graph's, or layers with different widths.
    """
    layers, bits = table_of(graph, variants)
    noise = [
        [
            float((dequantized(graph, name, variant) - graph.weight(name)).double().square().sum())
            for variant in variants[name].values()
        ]
        for name in layers
    ]
    return xr.DataArray(noise, {"layer": layers, "bits": bits}, ("layer", "bits"))


def sqnr(graph: Graph, variants: Variants) -> xr.DataArray:
    """Signal-to-quantization-noise ratio of the weights in dB, (layer, bits).

    ``10 * log10(||w||**2 / ||Q(w) - w||**2)`` (Lin et al., ICML 2016); infinite where the weights
    lie on the grid. Errors as :func:`squared_noise`.
    """
    noise = squared_noise(graph, variants)
    signal = [float(graph.weight(n).double().square().sum()) for n in noise["layer"].values]
    return _decibel(noise.isel(bits=0, drop=True).copy(data=signal), noise)


@torch.no_grad()
def output_sqnr(
    graph: Graph, images: Any, labels: npt.ArrayLike, variants: Variants, batch: int = 250
) -> xr.DataArray:
    """SQNR of each layer's output in dB, (class, layer, bits), in one pass over the images.

    The layer sees its float input, so the noise is its own (that of a quantized input included);
    the output is the one before the activation, bias included. Signal and noise are mean powers
    over the images of a class; where tied weights act at several sites, their powers are added.

    Raises:
        InputError: no image, labels that do not fit, or layers with different widths.
    """
    labels = checked_labels(graph, images, labels)
    layers, bits = table_of(graph, variants)
    powers: dict[str, list[Tensor]] = {name: [] for name in layers}
    watch = {name: _watcher(powers[name], graph, name, variants[name]) for name in layers}
    module = graph.module(inputs=watch)
    for pixels in graph.batches(images, batch):
        module(pixels)
    found = np.stack([_joined(graph, name, powers[name]) for name in layers], axis=1)
    coords = {"layer": layers, "bits": [0, *bits]}  # 0: the signal
    means = by_class(xr.DataArray(found, coords, ("image", "layer", "bits")), labels)
    return _decibel(means.sel(bits=0, drop=True), means.isel(bits=slice(1, None)))


def _watcher(
    kept: list[Tensor], graph: Graph, name: str, variants: Mapping[int, Variant]
) -> Callable[[Tensor], Tensor]:
    """Keeps (B, 1 + bits) a call: the power of each image's output, then of its noise."""
    sites = itertools.cycle([graph.node(site) for site in graph.layers[name].sites])
    each = [(dequantized(graph, name, variant), variant.input) for variant in variants.values()]

    def watch(x: Tensor) -> Tensor:
        site = next(sites)
        bias = bias_of(graph, site)
        output = apply_site(site, x, graph.weight(name), bias)
        values = [output]
        for weight, grid in each:
            rounded = x if grid is None else fake_quantize(x, grid)
            values.append(apply_site(site, rounded, weight, bias) - output)
        powers = [by_image(graph, site, y).double().square().sum(1) for y in values]
        kept.append(torch.stack(powers, 1).cpu())
        return x

    return watch


def _joined(graph: Graph, name: str, powers: list[Tensor]) -> npt.NDArray[np.float64]:
    """(N, 1 + bits) from the calls, which come batch by batch and in it site by site."""
    sites = len(graph.layers[name].sites)
    batches = [sum(powers[start : start + sites]) for start in range(0, len(powers), sites)]
    return torch.cat(batches).numpy()  # type: ignore[arg-type]


def perturbation(trace: xr.DataArray, graph: Graph, variants: Variants) -> xr.DataArray:
    """Mean curvature times squared noise, ``trace / n * ||Q(w) - w||**2``, (..., layer, bits).

    With the trace of the Hessian it is HAWQ-v2's perturbation (Dong et al., NeurIPS 2020); with the
    trace of the Fisher information it is FIT (Zandonati et al., ICLR 2023), with the noise measured
    instead of modelled as uniform. Over layers, scores add.

    Args:
        trace: (..., layer), of each layer's block.

    Raises:
        InputError: the trace is not of these layers, or layers have different widths.
    """
    layers, _ = table_of(graph, variants)
    if "layer" not in trace.dims or trace["layer"].values.tolist() != layers:
        raise InputError(f"the trace is not of the layers {', '.join(layers)}: measure it there")
    values = [graph.layers[name].parameters for name in layers]
    return (
        trace / xr.DataArray(values, {"layer": layers}, ("layer",)) * squared_noise(graph, variants)
    )


def table_of(graph: Graph, variants: Variants) -> tuple[list[str], list[int]]:
    """(layers, widths) of variants."""
    layers = list(graph.layers)
    if list(variants) != layers:
        raise InputError(f"variants are needed of every layer, in order: {', '.join(layers)}")
    bits = list(variants[layers[0]])
    for name in layers:
        if list(variants[name]) != bits:
            raise InputError(
                f"layer {name!r} has variants at {list(variants[name])} bits and {layers[0]!r} at "
                f"{bits}: make all layers' variants at the same widths"
            )
    return layers, bits


def dequantized(graph: Graph, layer: str, variant: Variant) -> Tensor:
    """The weight of a layer in quantized form, or the float one where it has none."""
    weight = graph.weight(layer)
    return weight if variant.weight is None else variant.weight.dequantize().to(weight)


def _decibel(signal: xr.DataArray, noise: xr.DataArray) -> xr.DataArray:
    with np.errstate(divide="ignore"):  # no noise at all: infinitely many dB
        ratio: xr.DataArray = 10 * (np.log10(signal) - np.log10(noise))  # type: ignore[assignment]
    return ratio.transpose(*noise.dims)
