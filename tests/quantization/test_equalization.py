"""Cross-layer equalization: the same function, equal ranges, nothing where it does not apply."""

from collections import OrderedDict

import pytest
import torch
from torch import nn
from torchvision import models as torchvision_models

from ltqlib.models.graph import Graph
from ltqlib.quantization import methods, quantize
from ltqlib.quantization.methods.equalization import equalized, pairs


def chain() -> nn.Module:
    """Plain, grouped, depthwise and transposed convolutions and linear layers, channels uneven."""
    torch.manual_seed(0)
    layers = OrderedDict(
        a=nn.Conv2d(3, 8, 3, padding=1),
        relu1=nn.ReLU(),
        pool=nn.MaxPool2d(2),
        b=nn.Conv2d(8, 12, 3, padding=1, groups=2, bias=False),
        relu2=nn.LeakyReLU(),
        c=nn.Conv2d(12, 12, 3, padding=1, groups=12),
        relu3=nn.ReLU(),
        d=nn.ConvTranspose2d(12, 6, 2, stride=2, groups=3),
        relu4=nn.ReLU(),
        average=nn.AvgPool2d(4),
        flatten=nn.Flatten(),
        e=nn.Linear(24, 10),
        relu5=nn.ReLU(),
        f=nn.Linear(10, 4),
    )
    module = nn.Sequential(layers).eval().requires_grad_(False)
    for name in "abcde":
        channels = module.get_submodule(name).weight
        spread = torch.exp(torch.randn(channels.shape[0]) * 1.5)
        channels *= spread.reshape(-1, *[1] * (channels.ndim - 1))
    return module


@pytest.fixture(scope="module")
def images():
    return torch.randn(30, 3, 8, 8, generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module")
def uneven(images):
    return Graph.trace(chain(), images[:2])


def test_every_pair_of_a_chain_is_found(uneven):
    found = [(pair.first, pair.second, pair.channels, pair.groups) for pair in pairs(uneven)]
    assert found == [
        ("a", "b", 8, 2), ("b", "c", 12, 12), ("c", "d", 12, 3), ("d", "e", 6, 1),
        ("e", "f", 10, 1),
    ]  # fmt: skip


def test_the_function_stays_the_same(uneven, images):
    other = equalized(uneven)
    torch.testing.assert_close(other.logits(images), uneven.logits(images), rtol=1e-3, atol=1e-4)
    for name in uneven.layers:
        assert not torch.allclose(other.weight(name), uneven.weight(name))


def inputs_range(graph, pair):
    """Largest weight of each input channel, read off by putting one channel in at a time."""
    weight = graph.weight(pair.second)
    per_group = pair.channels // pair.groups
    found = []
    for channel in range(pair.channels):
        group, inside = divmod(channel, per_group)
        rows = weight.chunk(pair.groups)[group].flatten(1)
        values = rows.shape[1] // per_group
        found.append(rows[:, inside * values : (inside + 1) * values].abs().max())
    return torch.stack(found)


def test_ranges_are_equal_in_every_pair(uneven):
    other = equalized(uneven)
    for pair in pairs(uneven):
        first = other.weight(pair.first).flatten(1).abs().amax(1)
        torch.testing.assert_close(first, inputs_range(other, pair), rtol=1e-2, atol=0)


def test_two_layers_are_equalized_as_the_paper_says(images):
    torch.manual_seed(1)
    module = nn.Sequential(nn.Flatten(), nn.Linear(192, 5), nn.ReLU(), nn.Linear(5, 3)).eval()
    graph = Graph.trace(module, images[:2])
    w1, b1, w2 = (p.detach() for p in (module[1].weight, module[1].bias, module[3].weight))
    r1, r2 = w1.abs().amax(1), w2.abs().amax(0)
    s = (r1 * r2).sqrt() / r2
    other = equalized(graph)
    torch.testing.assert_close(other.weight("1"), w1 / s[:, None])
    torch.testing.assert_close(other.bias("1"), b1 / s)
    torch.testing.assert_close(other.weight("3"), w2 * s)


def test_rounding_hurts_less_where_channels_were_uneven(images):
    """Channels of a network are scaled by factors that do not change what it computes."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Flatten(), nn.Linear(192, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 4)
    ).eval().requires_grad_(False)  # fmt: skip
    for first, second in ((1, 3), (3, 5)):
        factor = torch.exp(torch.randn(len(module[first].weight)) * 1.5)
        module[first].weight *= factor[:, None]
        module[first].bias *= factor
        module[second].weight /= factor
    graph = Graph.trace(module, images[:2])

    def distance(method, bits):
        model = quantize(graph, bits, method=method, calibration=images)
        return float((model(images) - graph.logits(images)).norm())

    for bits in (8, 6):
        assert distance("equalized-tensor", bits) < 0.3 * distance("w-tensor", bits)
        better = distance("equalized-corrected-tensor", bits)
        assert better < min(distance("corrected-tensor", bits), distance("equalized-tensor", bits))
    model = quantize(graph, 8, method="equalized-tensor")
    assert model.method == "equalized-tensor"
    assert model.model_size == quantize(graph, 8).model_size


def test_it_is_not_local_and_float_layers_are_equalized_as_well(uneven, images):
    method = methods.get("equalized-tensor")
    assert not method.local
    assert not method.calibrated
    assert methods.get("equalized-corrected-tensor").calibrated
    model = method.quantize(uneven, {"a": 8})
    assert not torch.equal(model.model.state_dict()["b.weight"], uneven.weight("b"))
    torch.testing.assert_close(model(images), uneven.logits(images), rtol=0.1, atol=0.1)


class Shared(nn.Module):
    """Nothing here may be equalized: what is read twice, GELU, tied weights, a linear on a map."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(3))
        self.rows, self.tied, self.head = nn.Linear(8, 8), nn.Linear(192, 192), nn.Linear(192, 2)

    def forward(self, x):
        x = torch.relu(self.a(x))
        x = x + self.b(x)  # a is read twice, b is added to
        x = self.rows(torch.relu(self.c(x)))  # along the width, not the channels
        x = nn.functional.gelu(self.tied(x.flatten(1)))
        return self.head(torch.relu(self.tied(x)))


def test_nothing_else_is_touched(images):
    torch.manual_seed(0)
    graph = Graph.trace(Shared().eval(), images[:2])
    assert list(pairs(graph)) == []
    other = equalized(graph)
    assert all(torch.equal(v, other.traced.constants[k]) for k, v in graph.traced.constants.items())


def test_a_dead_channel_is_left_alone(images):
    module = chain()
    module.a.weight[0] = 0
    module.b.weight[:, 1] = 0
    graph = Graph.trace(module, images[:2])
    other = equalized(graph)
    torch.testing.assert_close(other.logits(images), graph.logits(images), rtol=1e-3, atol=1e-4)
    assert all(torch.isfinite(other.weight(name)).all() for name in graph.layers)


def test_residual_blocks_are_equalized_inside():
    torch.manual_seed(0)
    block = torchvision_models.resnet.BasicBlock
    module = torchvision_models.ResNet(block, [1, 1, 1, 1], num_classes=3).eval()
    graph = Graph.trace(module, torch.randn(2, 3, 32, 32))
    found = [(pair.first, pair.second) for pair in pairs(graph)]
    assert found == [(f"layer{k}.0.conv1", f"layer{k}.0.conv2") for k in range(1, 5)]
