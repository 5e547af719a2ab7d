"""A small network whose layers are of every kind, its graph, and images for it."""

from collections import OrderedDict

import pytest
import torch
from torch import Tensor, nn

from ltqlib.models.graph import Graph


def small_network() -> nn.Module:
    """A convolution with BatchNorm, a grouped, a depthwise, a transposed one, two linear layers."""
    torch.manual_seed(0)
    layers = OrderedDict(
        first=nn.Conv2d(3, 8, 3, padding=1, bias=False),
        norm=nn.BatchNorm2d(8),
        relu1=nn.ReLU(),
        grouped=nn.Conv2d(8, 8, 3, stride=2, groups=4),
        relu2=nn.ReLU(),
        depthwise=nn.Conv2d(8, 8, 3, padding="same", groups=8),
        transposed=nn.ConvTranspose2d(8, 6, 2, stride=2, groups=2),
        relu3=nn.ReLU(),
        flatten=nn.Flatten(),
        hidden=nn.Linear(216, 10, bias=False),
        relu4=nn.ReLU(),
        head=nn.Linear(10, 5),
    )
    network = nn.Sequential(layers)
    for _ in range(3):  # running statistics that are not those of the start
        network(torch.randn(16, 3, 8, 8) * 2 + 1)
    return network.eval()


@pytest.fixture(scope="session")
def network() -> nn.Module:
    return small_network()


@pytest.fixture(scope="session")
def images() -> Tensor:
    return torch.randn(40, 3, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 + 1


@pytest.fixture(scope="session")
def graph(network: nn.Module, images: Tensor) -> Graph:
    return Graph.trace(network, images[:2])
