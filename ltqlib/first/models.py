"""Networks for 32-pixel images, with the post's layer names, and BatchNorm folding.

A network is ``normalize -> backbone -> classifier``: it takes pixels in 0..255, the backbone ends
in the features that stage 1 learns, and the classifier is the one linear layer that stage 2 of
decoupled training replaces.
"""

import copy
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ltqlib.first.config import RunConfig
from ltqlib.first.data import Images, in_order
from ltqlib.first.errors import InputError
from ltqlib.first.files import write_whole

COUNTER = "num_batches_tracked"  # BatchNorm's counter, which nothing here uses
# VGG16 (Simonyan and Zisserman, 2015), configuration D: channels of the 13 convolutions
VGG16_STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
# ResNet-32 for CIFAR (He et al., 2016, section 4.2): channels of the three stages, blocks in each
RESNET32_CHANNELS, RESNET32_BLOCKS = (16, 32, 64), 5


class Normalize(nn.Module):
    """``(x - mean) / std`` a channel, from pixels in 0..255 of any dtype."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.full((1, 3, 1, 1), 127.5))
        self.register_buffer("std", torch.full((1, 3, 1, 1), 63.75))

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalized float32 images, shape unchanged."""
        return (pixels.float() - self.mean) / self.std


class ConvUnit(nn.Module):
    """3x3 convolution, BatchNorm, ReLU (or none); after folding the BatchNorm is an identity.

    While ``convolve`` is set, it computes the convolution (:mod:`ltqlib.first.convolutions`).
    """

    convolve: Callable[[Tensor, Tensor], Tensor] | None = None

    def __init__(self, inputs: int, outputs: int, stride: int = 1, relu: bool = True) -> None:
        super().__init__()
        self.layer = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(outputs)
        self.relu = relu
        nn.init.kaiming_normal_(self.layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        x = self.convolve(x, self.layer.weight) if self.convolve else self.layer(x)
        x = self.norm(x)
        return torch.relu(x) if self.relu else x


class ResidualBlock(nn.Module):
    """Two convolutions and a shortcut without parameters (He et al., 2016, option A).

    Where the block halves the image, the shortcut takes every second pixel and pads the new
    channels with zeros, half on each side.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = ConvUnit(inputs, outputs, stride)
        self.second = ConvUnit(outputs, outputs, relu=False)
        self.stride, self.padding = stride, outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        return torch.relu(self.second(self.first(x)) + self.shortcut(x))

    def shortcut(self, x: Tensor) -> Tensor:
        """The way past the convolutions, of the same shapes."""
        if self.stride > 1 or self.padding:
            front = self.padding // 2
            x = x[:, :, :: self.stride, :: self.stride]
            x = F.pad(x, (0, 0, 0, 0, front, self.padding - front))
        return x


class LinearUnit(nn.Module):
    """Fully connected layer and ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.layer = nn.Linear(inputs, outputs)
        nn.init.kaiming_normal_(self.layer.weight, nonlinearity="relu")
        nn.init.zeros_(self.layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs) to (B, outputs)."""
        return torch.relu(self.layer(x))


class Network(nn.Module):
    """``normalize -> backbone -> classifier``."""

    def __init__(self, backbone: nn.Module, features: int, classes: int) -> None:
        super().__init__()
        self.normalize = Normalize()
        self.backbone = backbone
        self.classifier = nn.Linear(features, classes)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    def features(self, pixels: Tensor) -> Tensor:
        """Pixels (B, 3, 32, 32) to the representation (B, features)."""
        return self.backbone(self.normalize(pixels))

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels (B, 3, 32, 32) to logits (B, classes)."""
        return self.classifier(self.features(pixels))


def vgg16(width: float, classes: int) -> Network:
    """VGG16 with BatchNorm: L1-L13 convolutions, L14-L16 fully connected (L16 the classifier)."""
    units: OrderedDict[str, nn.Module] = OrderedDict()
    inputs, number = 3, 0
    for stage, channels in enumerate(VGG16_STAGES, start=1):
        for full in channels:
            number, outputs = number + 1, max(1, round(full * width))
            units[f"L{number}"] = ConvUnit(inputs, outputs)
            inputs = outputs
        units[f"pool{stage}"] = nn.MaxPool2d(2)
    units["flatten"] = nn.Flatten()
    units["L14"] = LinearUnit(inputs, inputs)
    units["L15"] = LinearUnit(inputs, inputs)
    return Network(nn.Sequential(units), inputs, classes)


def resnet32(width: float, classes: int) -> Network:
    """ResNet-32 of the long-tail literature: L1-L31 convolutions, L32 the classifier."""
    inputs = max(1, round(RESNET32_CHANNELS[0] * width))
    units: OrderedDict[str, nn.Module] = OrderedDict(L1=ConvUnit(3, inputs))
    for stage, full in enumerate(RESNET32_CHANNELS):
        outputs = max(1, round(full * width))
        for block in range(RESNET32_BLOCKS):
            stride = 2 if stage > 0 and block == 0 else 1
            name = f"block{stage * RESNET32_BLOCKS + block + 1}"
            units[name] = ResidualBlock(inputs, outputs, stride)
            inputs = outputs
    units["pool"] = nn.AdaptiveAvgPool2d(1)
    units["flatten"] = nn.Flatten()
    return Network(nn.Sequential(units), inputs, classes)


BUILDERS = {"vgg16": vgg16, "resnet32": resnet32}


def build(config: RunConfig, classes: int) -> Network:
    """A freshly initialized network; the initialization depends on ``config.seed`` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = BUILDERS[config.arch](config.width, classes)
    return network.to(memory_format=torch.channels_last)


def quantizable_layers(network: Network) -> "OrderedDict[str, nn.Conv2d | nn.Linear]":
    """Every convolution and linear layer by its name (L1, L2, ...), in order of execution."""
    units = [u for u in network.backbone.modules() if isinstance(u, (ConvUnit, LinearUnit))]
    layers = [*(unit.layer for unit in units), network.classifier]
    return OrderedDict((f"L{number}", layer) for number, layer in enumerate(layers, start=1))


def fold_batchnorm(network: Network) -> Network:
    """A copy in eval mode whose BatchNorms are folded into the convolutions before them.

    ``w' = w * gamma / sqrt(var + eps)``, ``b' = beta - mean * gamma / sqrt(var + eps)``; computed
    in float64, so that no prediction changes (Jacob et al., 2018, section 3.2).
    """
    folded = copy.deepcopy(network).eval()
    for unit in folded.backbone.modules():
        if isinstance(unit, ConvUnit) and isinstance(unit.norm, nn.BatchNorm2d):
            unit.layer = _folded_conv(unit.layer, unit.norm)
            unit.norm = nn.Identity()
    return folded.requires_grad_(False)


def _folded_conv(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    gain = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    bias = norm.bias.double() - norm.running_mean.double() * gain
    new = nn.Conv2d(conv.in_channels, conv.out_channels, 3, conv.stride, padding=1)  # type: ignore[arg-type]
    weight = (conv.weight.double() * gain[:, None, None, None]).float()
    new.weight = nn.Parameter(weight.contiguous(memory_format=torch.channels_last))
    new.bias = nn.Parameter(bias.float())
    return new


@torch.inference_mode()
def layer_costs(network: Network, size: int = 32) -> dict[str, dict[str, int]]:
    """``{layer: {"parameters": weights, "macs": multiply-accumulates of one image}}``."""
    costs: dict[str, dict[str, int]] = {}
    handles = []
    for name, layer in quantizable_layers(network).items():

        def count(module: nn.Module, _: Any, output: Tensor, name: str = name) -> None:
            weight = module.weight
            assert isinstance(weight, Tensor)
            positions = output[0, 0].numel()  # 1 for a linear layer
            costs[name] = {"parameters": weight.numel(), "macs": weight.numel() * positions}

        handles.append(layer.register_forward_hook(count))
    device = network.normalize.mean.device
    network(torch.zeros(1, 3, size, size, device=device))
    for handle in handles:
        handle.remove()
    return costs


@torch.inference_mode()
def predict_logits(network: nn.Module, images: Images, batch: int = 500) -> npt.NDArray[np.float32]:
    """Logits (N, classes) of uint8 images (N, H, W, 3), in float32: the reference evaluation."""
    device = next(network.parameters()).device
    outputs = [network(pixels).float().cpu() for pixels in in_order(images, batch, device)]
    return torch.cat(outputs).numpy()


@torch.no_grad()
def round_to_float16(network: nn.Module) -> None:
    """Round every parameter and buffer to float16 precision in place: what is stored *is* it."""
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.is_floating_point():
            tensor.copy_(tensor.half().float())


def save_checkpoint(network: nn.Module, path: Path) -> str:
    """Write the state as float16 safetensors, whole or not at all; returns its SHA-256."""
    state = network.state_dict()
    return write_tensors({k: v for k, v in state.items() if not k.endswith(COUNTER)}, path)


def load_checkpoint(network: nn.Module, path: Path, sha256: str) -> None:
    """Load a checkpoint into ``network`` after checking that it is the one recorded.

    Raises:
        InputError: the file is missing, truncated, altered, or of another network.
    """
    state = read_tensors(path, sha256)
    try:
        missing, unexpected = network.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise InputError(f"{path} holds tensors of other shapes: delete it") from error
    missing = [name for name in missing if not name.endswith(COUNTER)]
    if missing or unexpected:
        raise InputError(f"{path} is of another network ({(missing + unexpected)[0]}): delete it")


def write_tensors(tensors: dict[str, Tensor], path: Path) -> str:
    """Write float tensors as float16 safetensors, atomically; returns the file's SHA-256."""
    from safetensors.torch import save

    content = save({name: value.half().contiguous().cpu() for name, value in tensors.items()})
    write_whole(path, content)
    return hashlib.sha256(content).hexdigest()


def read_tensors(path: Path, sha256: str) -> dict[str, Tensor]:
    """The float32 tensors of a safetensors file, after checking its SHA-256.

    Raises:
        InputError: the file is missing, truncated or altered.
    """
    from safetensors.torch import load

    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing: run the training step again") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise InputError(f"{path} is truncated or altered (its SHA-256 differs): delete it")
    return {name: tensor.float() for name, tensor in load(content).items()}
