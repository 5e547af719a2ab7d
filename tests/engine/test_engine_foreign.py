"""torchvision's models with random weights: logits, costs and sweeps are those of the module.

ResNet-18 and MobileNetV2 are whole. The others are built by the same classes with fewer and
narrower blocks, every kind of block and every stage among them: a sweep by the plain way takes the
square of their number.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torchvision
from plain_way import (
    BF16,
    all_logits,
    one_layer_at_a_time,
    pictures,
    plain,
    ready,
    weight_variants,
)
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.efficientnet import EfficientNet, MBConvConfig

from ltqlib.engine import predict
from ltqlib.models import Graph

CLASSES = 7


def efficientnet() -> nn.Module:
    """B0's stages 1, 2 (two blocks, one with a shortcut), 3 and 5."""
    stages = [
        (1, 3, 1, 32, 16, 1),
        (6, 3, 2, 16, 24, 2),
        (6, 5, 2, 24, 40, 1),
        (6, 5, 1, 40, 56, 1),
    ]
    settings = [MBConvConfig(*stage) for stage in stages]
    return EfficientNet(settings, dropout=0.2, num_classes=CLASSES)


def convnext() -> nn.Module:
    """Four stages with three downsamplings, a quarter as wide as ConvNeXt-Tiny."""
    settings = [(24, 48, 1), (48, 96, 1), (96, 192, 2), (192, None, 1)]
    return ConvNeXt([CNBlockConfig(*each) for each in settings], num_classes=CLASSES)


def densenet() -> nn.Module:
    """Four dense blocks with three transitions."""
    return torchvision.models.DenseNet(16, (2, 3, 2, 2), 32, num_classes=CLASSES)


def vit() -> nn.Module:
    """Three encoder blocks of four heads on 2 x 2 patches."""
    return torchvision.models.VisionTransformer(32, 16, 3, 4, 64, 128, num_classes=CLASSES)


MODELS: dict[str, tuple[Callable[[], nn.Module], int]] = {  # with their layers, counted by hand
    "resnet18": (lambda: torchvision.models.resnet18(num_classes=CLASSES), 21),
    "mobilenet_v2": (lambda: torchvision.models.mobilenet_v2(num_classes=CLASSES), 53),
    "efficientnet": (efficientnet, 1 + 4 + 4 * 5 + 2),
    "convnext": (convnext, 1 + 3 + 5 * 3 + 1),
    "densenet": (densenet, 1 + 9 * 2 + 3 + 1),
    "vit": (vit, 1 + 3 * 4 + 1),
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if n == "mobilenet_v2" else ()) for n in MODELS]
)
def test_logits_costs_and_sweep_are_those_of_the_module(name):
    torch.manual_seed(0)
    make, layers = MODELS[name]
    module = make()
    images = (torch.from_numpy(pictures(48, 32)).permute(0, 3, 1, 2) - 127.5) / 63.75
    ready(module, images)
    images = images[:8]
    graph = Graph.trace(module, images[:2])
    with torch.inference_mode():
        expected = module(images)
    assert len(expected.argmax(1).unique()) > 2
    torch.testing.assert_close(graph.logits(images), expected, rtol=1e-3, atol=1e-4)
    assert len(graph.layers) == layers
    assert all("weight" not in skipped for skipped in graph.skipped)
    costs_agree(module, graph, images)
    sweep_agrees(graph, images)


def costs_agree(module, graph, images) -> None:
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # which the counter does not see into
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(images[:1])
    torch.backends.mha.set_fastpath_enabled(fast_path)
    macs = sum(layer.macs for layer in graph.layers.values())
    assert 2 * macs == counter.get_total_flops()


def sweep_agrees(graph, images) -> None:
    variants, rows = weight_variants(graph, (3,)), one_layer_at_a_time(graph, (3,))
    expected = plain(graph, variants, rows, images)
    found = predict(graph, variants, rows, images, all_logits, precision="float32")["logits"]
    # float32 in another order of sums: against the largest logit, for networks differ in scale
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    assert (expected.argmax(-1) != expected.argmax(-1)[0]).any(1).sum() > 2  # layers
    np.testing.assert_array_equal(found.argmax(-1), expected.argmax(-1))
    if BF16:
        settled = predict(graph, variants, rows, images, precision="bfloat16")["predicted"]
        np.testing.assert_array_equal(settled, expected.argmax(-1))
