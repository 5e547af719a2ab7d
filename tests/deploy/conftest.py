"""A small network with every kind of layer, its graph, and images."""

import numpy as np
import pytest
import torch
from torch import nn

from ltqlib.models.graph import Graph
from ltqlib.quantization import Quantized


class SmallNet(nn.Module):
    """Convolutions (plain, grouped, depthwise) and linear layers, one of them without a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.grouped = nn.Conv2d(8, 12, 3, stride=2, groups=2)
        self.depthwise = nn.Conv2d(12, 12, 3, groups=12, bias=False)
        self.hidden = nn.Linear(12 * 4, 20)
        self.head = nn.Linear(20, 5, bias=False)

    def forward(self, x):
        x = torch.relu(self.norm(self.first(x)))
        x = torch.max_pool2d(torch.relu(self.grouped(x)), 2)
        x = torch.relu(self.depthwise(x + 0.5)).flatten(1)
        return self.head(torch.relu(self.hidden(x)))


@pytest.fixture(scope="session")
def graph() -> Graph:
    torch.manual_seed(0)
    network = SmallNet()
    nn.init.normal_(network.norm.running_mean)
    nn.init.uniform_(network.norm.running_var, 0.5, 2.0)
    return Graph.trace(network, torch.rand(2, 3, 18, 18))


@pytest.fixture(scope="session")
def images() -> torch.Tensor:
    return torch.rand(64, 3, 18, 18, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="session")
def corrected(graph, images) -> Quantized:
    """Weights at mixed widths, with every correction of a bias there is."""
    from ltqlib.quantization import quantize

    widths = {"first": 3, "grouped": 5, "depthwise": 2, "head": 7}
    return quantize(graph, widths, method="corrected-channel", calibration=images)


@pytest.fixture(scope="session")
def labels() -> np.ndarray:
    return np.arange(64) % 5
