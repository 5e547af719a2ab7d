"""VGG16 and ResNet-32: names and sizes of the layers, initialization, the shortcut."""

import pytest
import torch
from torch import nn
from torchvision.models.vgg import cfgs, make_layers

from ltqlib.config import from_profile
from ltqlib.models import build, layer_names
from ltqlib.models.networks import ResidualBlock, vgg16

TINY = from_profile("smoke", width=1 / 32)


def state(network):
    return {k: v.clone() for k, v in network.state_dict().items() if "num_batches" not in k}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


@pytest.mark.parametrize(("arch", "count"), [("vgg16", 16), ("resnet32", 32)])
def test_layers_are_named_in_order_of_execution(networks, arch, count):
    network, called = networks[arch], []
    names = layer_names(network)
    assert list(names.values()) == [f"L{number}" for number in range(1, count + 1)]
    handles = [
        network.get_submodule(path).register_forward_hook(lambda *_, name=name: called.append(name))
        for path, name in names.items()
    ]
    network(torch.zeros(2, 3, 32, 32))
    for handle in handles:
        handle.remove()
    assert called == list(names.values())


def test_full_width_has_the_parameters_of_vgg16():
    convolutions = make_layers(cfgs["D"], batch_norm=True)
    biases = sum(m.out_channels for m in convolutions if isinstance(m, nn.Conv2d))  # ours have none
    expected = sum(p.numel() for p in convolutions.parameters()) - biases
    expected += 2 * (512 * 512 + 512) + 512 * 10 + 10
    assert sum(p.numel() for p in vgg16(1.0, 10).parameters()) == expected


def test_resnet32_has_the_parameters_of_the_literature():
    network = build(from_profile("resnet"), 10)
    assert sum(p.numel() for p in network.parameters()) == 464_154  # 0.46 M, He et al., table 6


def test_the_seed_alone_decides_the_initial_weights():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = build(TINY, 10)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    assert same(state(build(TINY, 10)), state(first))
    assert not same(state(build(from_profile("smoke", width=1 / 32, seed=1), 10)), state(first))


def test_pixels_of_any_dtype_are_normalized(networks, images):
    network, pixels = networks["vgg16"], torch.from_numpy(images[:4]).permute(0, 3, 1, 2)
    torch.testing.assert_close(network(pixels), network(pixels.float()), rtol=0, atol=0)


def test_the_shortcut_halves_and_pads():
    block = ResidualBlock(4, 8, 2).eval()
    nn.init.zeros_(block.second.layer.weight)  # only the shortcut is left
    x = torch.rand(2, 4, 6, 6)
    y = block(x)
    assert torch.equal(y[:, 2:6], x[:, :, ::2, ::2])
    assert not y[:, :2].any()
    assert not y[:, 6:].any()
