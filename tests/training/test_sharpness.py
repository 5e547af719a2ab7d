"""Sharpness-aware minimization: the gradient is that of the highest point nearby."""

import pytest
import torch
from torch import nn

from ltqlib.training.loop import Recipe, fit
from ltqlib.training.sharpness import at_highest_neighbour

CURVATURE = torch.tensor([1.0, 4.0, 0.25])


def bowl(weight):
    return 0.5 * (CURVATURE * weight**2).sum()


class Bowl(nn.Module):
    """A network whose loss is a bowl, whatever the images."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, -2.0, 3.0]))
        self.norm = nn.BatchNorm1d(2)

    def forward(self, pixels):
        self.norm(pixels)
        return bowl(self.weight)[None]


class OneBatch:
    def __len__(self):
        return 1

    def epoch(self, epoch):
        yield torch.randn(4, 2, generator=torch.Generator().manual_seed(epoch)), None


def test_the_step_is_the_sharpness_aware_one_of_a_quadratic():
    """Foret et al. (2021), algorithm 1: ``w - lr * g(w + rho g / |g|)``, by hand."""
    network, rho, lr = Bowl(), 0.3, 0.1
    weight = network.weight.detach().clone()
    gradient = CURVATURE * weight
    expected = weight - lr * CURVATURE * (weight + rho * gradient / gradient.norm())
    fit(
        network,
        [network.weight],
        OneBatch(),
        lambda value, _, done: value[0],
        Recipe(epochs=1, lr=lr, momentum=0.0, weight_decay=0.0, sam=rho),
    )
    torch.testing.assert_close(network.weight.detach(), expected)


def test_inside_the_loss_is_higher_and_outside_the_weights_are_back():
    network, rho = Bowl(), 0.5
    before = network.weight.detach().clone()
    value = bowl(network.weight)
    value.backward()
    with at_highest_neighbour(network, [network.weight], rho):
        moved = network.weight.detach() - before
        assert bowl(network.weight) > value
    assert float(moved.norm()) == pytest.approx(rho)
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):  # to first order no point at this distance is higher
        other = torch.randn(3, generator=generator)
        other *= rho / other.norm()
        assert (CURVATURE * before) @ other <= (CURVATURE * before) @ moved + 1e-6
    assert torch.equal(network.weight.detach(), before)


def test_the_weights_come_back_after_an_error():
    network = Bowl()
    bowl(network.weight).backward()
    before = network.weight.detach().clone()
    with pytest.raises(RuntimeError), at_highest_neighbour(network, [network.weight], 1.0):
        raise RuntimeError
    assert torch.equal(network.weight.detach(), before)
    assert network.norm.momentum == 0.1


def test_statistics_are_those_of_the_weights_themselves():
    network, pixels = Bowl(), torch.randn(8, 2)
    network(pixels).sum().backward()
    before = {name: value.clone() for name, value in network.norm.named_buffers()}
    with at_highest_neighbour(network, [network.weight], 1.0):
        network(pixels + 5)
    assert torch.equal(network.norm.running_mean, before["running_mean"])
    assert torch.equal(network.norm.running_var, before["running_var"])


def test_no_gradient_moves_nothing():
    network = Bowl()
    network.weight.grad = torch.zeros(3)
    before = network.weight.detach().clone()
    with at_highest_neighbour(network, [network.weight], 1.0):
        assert torch.equal(network.weight.detach(), before)
