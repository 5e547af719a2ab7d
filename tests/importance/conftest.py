"""A network of 98 weights in float64, its graph, twelve images and their classes."""

from collections import OrderedDict

import pytest
import torch
from tiny_classes import BITS, LABELS
from torch import nn

from ltqlib.models.graph import Graph
from ltqlib.quantization import variants


@pytest.fixture(scope="session")
def network() -> nn.Module:
    """Convolution, pool and two linear layers."""
    torch.manual_seed(1)
    layers = OrderedDict(
        L1=nn.Conv2d(3, 2, 3, padding=1),
        relu1=nn.ReLU(),
        pool=nn.MaxPool2d(2),
        flatten=nn.Flatten(),
        L2=nn.Linear(8, 4),
        relu2=nn.ReLU(),
        L3=nn.Linear(4, 3),
    )
    nn.init.normal_(layers["L3"].weight)
    return nn.Sequential(layers).double().eval()


@pytest.fixture(scope="session")
def images() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(len(LABELS), 3, 4, 4, dtype=torch.float64, generator=generator) * 2


@pytest.fixture(scope="session")
def graph(network: nn.Module, images: torch.Tensor) -> Graph:
    return Graph.trace(network, images[:2])


@pytest.fixture(scope="session")
def rounded(graph: Graph) -> dict:
    return variants(graph, BITS)
