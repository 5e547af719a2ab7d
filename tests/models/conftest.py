"""Networks whose BatchNorms have statistics of their own, and a few images."""

import numpy as np
import pytest
import torch
from torch import nn

from ltqlib.config import from_profile
from ltqlib.models import Graph, Network, build, graph_of


def with_statistics(module: nn.Module) -> nn.Module:
    """Random statistics and gains in every BatchNorm, so that folding has something to fold."""
    generator = torch.Generator().manual_seed(0)
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.running_mean.normal_(0, 0.1, generator=generator)
            part.running_var.uniform_(0.5, 2, generator=generator)
            part.weight.data.uniform_(0.5, 1.5, generator=generator)
            part.bias.data.normal_(0, 0.1, generator=generator)
    return module.eval()


@pytest.fixture(scope="session")
def networks(images: np.ndarray) -> dict[str, Network]:
    """A VGG16 at 1/16 of the width and a ResNet-32 at a quarter, in eval mode."""
    configs = {"vgg16": from_profile("smoke"), "resnet32": from_profile("resnet", width=0.25)}
    found = {name: with_statistics(build(config, 10)) for name, config in configs.items()}
    for network in found.values():  # the classes lie close together, and none wins everywhere
        with torch.no_grad():
            logits = network(torch.from_numpy(images).permute(0, 3, 1, 2))
            network.classifier.bias -= logits.mean(0)
    return found


@pytest.fixture(scope="session")
def graphs(networks: dict[str, Network]) -> dict[str, Graph]:
    """Their graphs."""
    return {name: graph_of(network) for name, network in networks.items()}


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    """uint8 (40, 32, 32, 3)."""
    return np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
