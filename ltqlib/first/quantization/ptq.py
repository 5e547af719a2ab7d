"""Post-training quantization of a network: weights, or weights and activations, layer by layer."""

import copy
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ltqlib.first.data import Images, in_order
from ltqlib.first.errors import InputError
from ltqlib.first.models import Network, quantizable_layers
from ltqlib.first.quantization.calibration import choose_range
from ltqlib.first.quantization.grids import QParams, choose_qparams, fake_quantize

SAMPLE = 20_000  # activation values kept a layer: 0.1 % of them is still 20


class Bits(NamedTuple):
    """Widths of one layer: of its weights and of its input; None leaves float32."""

    weight_bits: int | None = None
    act_bits: int | None = None


BitConfig = dict[str, Bits]


@dataclass(frozen=True)
class Scheme:
    """How grids are chosen, for weights and for activations (which have one grid a tensor)."""

    weight_per_channel: bool = False
    weight_symmetric: bool = True
    weight_method: str = "min-max"
    activations: bool = False
    act_symmetric: bool = False
    act_method: str = "min-max"

    def bits(self, width: int) -> Bits:
        """The same width everywhere that this scheme quantizes."""
        return Bits(width, width if self.activations else None)


# The schemes of the book; the first is the primary one (what the post most likely did).
SCHEMES = {
    "w-tensor": Scheme(),
    "w-channel": Scheme(weight_per_channel=True),
    "wa-tensor": Scheme(activations=True),
    "wa-percentile": Scheme(weight_per_channel=True, activations=True, act_method="percentile"),
    "wa-mse": Scheme(
        weight_per_channel=True, weight_method="mse", activations=True, act_method="mse"
    ),
}

Calibration = dict[str, Tensor]  # layer name -> sample of its input values, (values,)


def weight_qparams(weight: Tensor, bits: int, scheme: Scheme) -> QParams:
    """The grid of a weight (C_out, ...): scale of shape (C_out,) per channel, else ()."""
    rows = (
        weight.reshape(weight.shape[0], -1) if scheme.weight_per_channel else weight.reshape(1, -1)
    )
    low, high = choose_range(rows, scheme.weight_method, bits, scheme.weight_symmetric)
    if not scheme.weight_per_channel:
        low, high = low[0], high[0]
    return choose_qparams(low, high, bits, scheme.weight_symmetric)


def quantized_weight(weight: Tensor, bits: int, scheme: Scheme) -> Tensor:
    """The weight rounded to its grid (fake quantized), float32."""
    return fake_quantize(weight, weight_qparams(weight, bits, scheme))


@torch.inference_mode()
def calibrate(network: Network, images: Images, batch: int = 256) -> Calibration:
    """Sample the input of every layer of a folded network on training images (N, H, W, 3).

    The smallest and largest value are always in the sample, so min-max stays exact. The sample is
    a fixed stride through the values: the same images give the same grids.
    """
    device = next(network.parameters()).device
    kept: dict[str, list[Tensor]] = {name: [] for name in quantizable_layers(network)}
    share = SAMPLE // max(1, -(-len(images) // batch))

    def keep(name: str) -> object:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            values = inputs[0].reshape(-1)
            stride = max(1, values.numel() // share) | 1  # odd: no image column is favoured
            picked = values[::stride]
            kept[name].append(torch.cat([picked, values.aminmax().min[None], values.max()[None]]))

        return hook

    layers = quantizable_layers(network)
    handles = [layer.register_forward_pre_hook(keep(name)) for name, layer in layers.items()]  # type: ignore[arg-type]
    for pixels in in_order(images, batch, device):
        network(pixels)
    for handle in handles:
        handle.remove()
    return {name: torch.cat(values) for name, values in kept.items()}


def quantize_network(
    network: Network, bit_config: BitConfig, scheme: Scheme, calibration: Calibration | None = None
) -> Network:
    """A copy of a folded network with the layers of ``bit_config`` fake quantized.

    Raises:
        InputError: a layer that the network does not have, or activations without calibration.
    """
    quantized = copy.deepcopy(network)
    layers = quantizable_layers(quantized)
    for name, bits in bit_config.items():
        if name not in layers:
            raise InputError(f"bit_config names {name!r}: the layers are {', '.join(layers)}")
        layer = layers[name]
        if bits.weight_bits is not None:
            layer.weight.data = quantized_weight(layer.weight.data, bits.weight_bits, scheme)
        if bits.act_bits is not None:
            if calibration is None:
                raise InputError(f"act_bits of {name} need calibration images: none were given")
            grid = activation_qparams(calibration[name], bits.act_bits, scheme)
            layer.register_forward_pre_hook(_quantize_input(grid))
    return quantized


def activation_qparams(sample: Tensor, bits: int, scheme: Scheme) -> QParams:
    """The per-tensor grid of an activation from a sample of its values (values,)."""
    low, high = choose_range(sample[None], scheme.act_method, bits, scheme.act_symmetric)
    return choose_qparams(low[0], high[0], bits, scheme.act_symmetric)


class _quantize_input:
    def __init__(self, grid: QParams) -> None:
        self.grid = grid

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (fake_quantize(inputs[0], self.grid), *inputs[1:])
