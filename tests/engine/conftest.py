"""Two small networks with random weights, and a few images."""

import numpy as np
import pytest
import torch
from plain_way import pictures, ready

from ltqlib.config import from_profile
from ltqlib.models import Graph, build, graph_of


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    """uint8 (60, 32, 32, 3)."""
    return pictures(60, 32)


@pytest.fixture(scope="session")
def graphs(images: np.ndarray) -> dict[str, Graph]:
    """A VGG16 at 1/16 of the width and a ResNet-32 at a quarter."""
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
    configs = {"vgg16": from_profile("smoke"), "resnet32": from_profile("resnet", width=0.25)}
    return {n: graph_of(ready(build(config, 10), pixels)) for n, config in configs.items()}
