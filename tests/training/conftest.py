"""The digits as a long tail, and a small network trained on them."""

import pytest
import torch

from ltqlib.config import from_profile
from ltqlib.data import LongTail, load_data
from ltqlib.models import Network
from ltqlib.training import train_network

CPU = torch.device("cpu")


@pytest.fixture(scope="session")
def digits() -> LongTail:
    """scikit-learn's digits with an imbalance factor of 0.1: 120 to 12 images a class."""
    return load_data("digits", imbalance_factor=0.1)


@pytest.fixture(scope="session")
def balanced() -> LongTail:
    """scikit-learn's digits, 120 of each class."""
    return load_data("digits")


@pytest.fixture(scope="session")
def smoke_network(balanced: LongTail) -> Network:
    """VGG16 at 1/16 of the width after a few epochs on the digits."""
    network, _ = train_network(from_profile("smoke", epochs=4), balanced, CPU)
    return network
