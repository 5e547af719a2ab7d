"""Networks for 32-pixel images, with the post's layer names.

A network is ``normalize -> backbone -> classifier``: it takes pixels in 0..255, the backbone ends
in the features that stage 1 learns, and the classifier is the one linear layer that stage 2 of
decoupled training replaces.
"""

from collections import OrderedDict
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ltqlib.config import RunConfig

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
    """3x3 convolution, BatchNorm, ReLU (or none).

    While ``convolve`` is set, it computes the convolution: training has faster ways than torch's.
    """

    convolve: Callable[[Tensor, Tensor], Tensor] | None = None

    def __init__(self, inputs: int, outputs: int, stride: int = 1, relu: bool = True) -> None:
        super().__init__()
        self.layer = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
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


def layer_names(network: Network) -> dict[str, str]:
    """``{"backbone.L1.layer": "L1", ..., "classifier": "L16"}``, in order of execution."""
    kinds = (nn.Conv2d, nn.Linear)
    paths = [path for path, module in network.named_modules() if isinstance(module, kinds)]
    return {path: f"L{number}" for number, path in enumerate(paths, start=1)}
