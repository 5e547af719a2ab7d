"""The other ways to convolve: torch's convolution and its gradients, where they are faster."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ltqlib.models.networks import ConvUnit, ResidualBlock
from ltqlib.training import convolutions, winograd

WAYS = {"product": convolutions.as_product, "winograd": convolutions.by_winograd}


def outcome(convolve, size, dtype=torch.float64, channels=(5, 7)):
    """Output and both gradients of one convolution of seeded numbers."""
    generator = torch.Generator().manual_seed(0)
    inputs, outputs = channels
    x, weight = (
        torch.randn(*shape, dtype=dtype, generator=generator, requires_grad=True)
        for shape in ((3, inputs, *size), (outputs, inputs, 3, 3))
    )
    y = convolve(x, weight)
    y.backward(torch.randn(y.shape, dtype=dtype, generator=generator))
    return y.detach(), x.grad, weight.grad


def plain(x, weight):
    return F.conv2d(x, weight, padding=1)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (4, 4), (2, 3), (6, 8), (5, 5), (8, 4), (16, 16)])
def test_each_way_is_the_convolution_of_torch_with_its_gradients(way, size):
    for mine, theirs in zip(outcome(WAYS[way], size), outcome(plain, size), strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("size", [(2, 2), (8, 8)])
def test_winograd_keeps_the_precision_of_float32(size):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(4, 128, *size, generator=generator)
    weight = torch.randn(128, 128, 3, 3, generator=generator)
    right = plain(x.double(), weight.double())
    error = (winograd.convolve(x, weight).double() - right).norm() / right.norm()
    assert error < 1e-5


def test_winograd_takes_even_sides_alone():
    assert winograd.fits(torch.empty(1, 1, 2, 4))
    assert not winograd.fits(torch.empty(1, 1, 4, 3))


def test_the_product_follows_the_precision_of_its_input():
    x, weight = torch.randn(2, 3, 4, 4).bfloat16(), torch.randn(4, 3, 3, 3)
    assert convolutions.as_product(x, weight).dtype == torch.bfloat16


@pytest.fixture
def processor(monkeypatch):
    def be(amx=False, capability="DEFAULT"):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)

    return be


def chosen(device="cpu"):
    network = nn.Sequential(
        ConvUnit(8, 512), ConvUnit(512, 512, stride=2), ConvUnit(512, 512), ConvUnit(64, 128)
    )
    with convolutions.fast(network, torch.device(device)):
        ways = [unit.convolve for unit in network]
    assert not any(unit.convolve for unit in network)
    return ways


def test_each_processor_has_its_way_for_wide_layers(processor):
    processor(amx=True, capability="AVX512")
    assert chosen() == [None, None, convolutions.as_product, None]
    assert chosen("cuda") == [None] * 4
    processor(capability="AVX2")
    assert chosen() == [None, None, convolutions.by_winograd, convolutions.by_winograd]
    processor(capability="AVX512")
    assert chosen() == [None] * 4


def test_torch_convolves_again_after_an_error(processor):
    processor(capability="AVX2")
    unit = ConvUnit(64, 128)
    with pytest.raises(RuntimeError), convolutions.fast(unit, torch.device("cpu")):
        raise RuntimeError
    assert unit.convolve is None


@pytest.mark.parametrize(("amx", "capability"), [(True, "AVX512"), (False, "AVX2")])
def test_a_step_of_training_is_the_same_either_way(processor, amx, capability):
    processor(amx, capability)
    torch.manual_seed(0)
    network = nn.Sequential(ConvUnit(64, 512), ResidualBlock(512, 512, 1)).double()
    x = torch.randn(4, 64, 4, 4, dtype=torch.float64)

    def gradients():
        network.zero_grad()
        network(x).square().sum().backward()
        return [p.grad.clone() for p in network.parameters()]

    expected = gradients()
    with convolutions.fast(network, torch.device("cpu")):
        found = gradients()
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs)
