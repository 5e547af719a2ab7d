"""The noise that quantization adds: to the weights, and to a layer's outputs."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from ltqlib.first.data import Images, in_order
from ltqlib.first.errors import InputError
from ltqlib.first.importance.groups import Array, Groups, image_weights
from ltqlib.first.importance.layers import Labels, chosen_layers
from ltqlib.first.models import Network
from ltqlib.first.quantization.ptq import Scheme, quantized_weight


def squared_noise(
    network: Network, widths: Sequence[int], scheme: Scheme, layers: Sequence[str] | None = None
) -> Array:
    """``||Q(w) - w||**2`` of each layer's weight, (layers, widths).

    Raises:
        InputError: a layer that the network does not have, or bits outside 2..8.
    """
    weights = [layer.weight.detach() for layer in chosen_layers(network, layers).values()]
    return np.array(
        [
            [
                float((quantized_weight(w, bits, scheme) - w).double().square().sum())
                for bits in widths
            ]
            for w in weights
        ]
    )


def sqnr(
    network: Network, widths: Sequence[int], scheme: Scheme, layers: Sequence[str] | None = None
) -> Array:
    """Signal-to-quantization-noise ratio of the weights in dB, (layers, widths).

    ``10 * log10(||w||**2 / ||Q(w) - w||**2)`` (Lin et al., 2016); infinite where the
    weights lie on the grid. Errors as :func:`squared_noise`.
    """
    signal = [
        float(layer.weight.detach().double().square().sum())
        for layer in chosen_layers(network, layers).values()
    ]
    return _decibel(np.array(signal)[:, None], squared_noise(network, widths, scheme, layers))


@torch.no_grad()
def output_sqnr(
    network: Network,
    images: Images,
    labels: Labels,
    widths: Sequence[int],
    scheme: Scheme,
    groups: Groups,
    layers: Sequence[str] | None = None,
    batch: int = 250,
) -> Array:
    """SQNR of each layer's output in dB, (groups, layers, widths), in one pass over the images.

    The layer sees its float input, so the noise is its own; the output is the one before the
    activation, bias included. Signal and noise are mean powers over the images of a group.

    Raises:
        InputError: a class without an image, an unknown layer, bits outside 2..8.
    """
    share = image_weights(labels, groups)
    chosen = chosen_layers(network, layers)
    powers: dict[str, list[Tensor]] = {name: [] for name in chosen}
    handles = [
        layer.register_forward_hook(_power_hook(powers[name], layer, widths, scheme))
        for name, layer in chosen.items()
    ]
    try:
        for pixels in in_order(images, batch, next(network.parameters()).device):
            network(pixels)
    finally:
        for handle in handles:
            handle.remove()
    means = np.stack([share @ torch.cat(parts).numpy() for parts in powers.values()], axis=1)
    return _decibel(means[..., :1], means[..., 1:])


def _power_hook(
    kept: list[Tensor], layer: nn.Module, widths: Sequence[int], scheme: Scheme
) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
    """A hook that keeps (B, 1 + widths): the power of each image's output, then of its noise."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    rounded = [quantized_weight(weight, bits, scheme) for bits in widths]
    busy = False

    def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal busy
        if busy:  # the calls below come here too
            return
        busy = True
        noisy = [functional_call(module, {"weight": w}, inputs) - output for w in rounded]
        busy = False
        signals = torch.stack([output, *noisy], 1).flatten(2)
        kept.append(signals.double().square().sum(2).cpu())

    return hook


def perturbation(
    trace: Array,
    network: Network,
    widths: Sequence[int],
    scheme: Scheme,
    layers: Sequence[str] | None = None,
) -> Array:
    """Mean curvature times squared noise, ``trace / n * ||Q(w) - w||**2``.

    With the trace of the Hessian it is HAWQ-v2's perturbation (Dong et al., 2020);
    with the trace of the Fisher information it is FIT (Zandonati et al., 2023), with the noise
    measured instead of modelled as uniform. Over layers, scores add.

    Args:
        trace: (groups, layers), of each layer's block.

    Returns:
        (groups, layers, widths).

    Raises:
        InputError: the trace is not of these layers, or bits outside 2..8.
    """
    chosen = chosen_layers(network, layers)
    if trace.ndim != 2 or trace.shape[1] != len(chosen):
        raise InputError(
            f"the trace has shape {trace.shape}, there are {len(chosen)} layers: give "
            "(groups, layers)"
        )
    parameters = np.array([layer.weight.numel() for layer in chosen.values()])
    noise = squared_noise(network, widths, scheme, layers) / parameters[:, None]
    return trace[:, :, None] * noise


def _decibel(signal: Array, noise: Array) -> Array:
    with np.errstate(divide="ignore"):  # no noise at all: infinitely many dB
        return 10 * (np.log10(signal) - np.log10(noise))
