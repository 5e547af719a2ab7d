"""Layer sensitivity: quantize one layer at a time, at several widths, and keep every outcome.

The layers before the quantized one do not change, so each batch walks through the network once,
and at every layer the rest of the network is run for all widths together: no activation is kept
longer than a batch, and the result equals quantizing a copy and evaluating it whole.
"""

import copy

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ltqlib.data import Images, in_order
from ltqlib.models import Network, quantizable_layers
from ltqlib.progress import Progress
from ltqlib.quantization.ptq import Scheme, quantized_weight


@torch.inference_mode()
def one_layer_at_a_time(
    network: Network,
    images: Images,
    widths: tuple[int, ...],
    scheme: Scheme,
    batch: int = 500,
    progress: str = "sensitivity",
) -> dict[str, dict[int, npt.NDArray[np.uint8]]]:
    """Predictions with only one layer's weights quantized, for every layer and width.

    Args:
        network: folded, in eval mode.
        images: uint8 (N, H, W, 3).
        widths: weight bits to try.

    Returns:
        ``{layer: {bits: predictions (N,)}}``, layers in order of execution.
    """
    units = [*network.backbone.children(), network.classifier]
    variants = _variants(network, units, widths, scheme)
    device = next(network.parameters()).device
    found: dict[str, dict[int, list[Tensor]]] = {
        name: {bits: [] for bits in widths} for _, name, _ in variants
    }
    with Progress(len(images), progress) as bar:
        for pixels in in_order(images, batch, device):
            x = network.normalize(pixels)
            position = 0
            for where, name, quantized in variants:
                x = _run(units[position:where], x)
                position = where
                outputs = torch.cat([unit(x) for unit in quantized])
                choices = _run(units[where + 1 :], outputs).argmax(1).chunk(len(widths))
                for bits, choice in zip(widths, choices, strict=True):
                    found[name][bits].append(choice)
            bar.update(len(pixels))
    return {
        name: {b: torch.cat(parts).cpu().numpy().astype(np.uint8) for b, parts in by_bits.items()}
        for name, by_bits in found.items()
    }


def _variants(
    network: Network, units: list[nn.Module], widths: tuple[int, ...], scheme: Scheme
) -> list[tuple[int, str, list[nn.Module]]]:
    """(position, layer name, one copy of the unit a width) of every quantizable layer."""
    variants = []
    for name, layer in quantizable_layers(network).items():
        where = next(i for i, u in enumerate(units) if layer in set(u.modules()))
        copies = []
        for bits in widths:
            unit = copy.deepcopy(units[where])
            inside = list(units[where].modules()).index(layer)  # a unit may hold two layers
            list(unit.modules())[inside].weight.data = quantized_weight(
                layer.weight.data, bits, scheme
            )
            copies.append(unit)
        variants.append((where, name, copies))
    return variants


def _run(units: list[nn.Module], x: Tensor) -> Tensor:
    for unit in units:
        x = unit(x)
    return x
