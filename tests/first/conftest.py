"""Fixtures that the test files share: a home folder, a tiny image folder, a small network."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings
from PIL import Image

from ltqlib.first import data
from ltqlib.first.config import from_profile
from ltqlib.first.models import Network, fold_batchnorm
from ltqlib.first.train import train

# The same examples on every machine, and no deadline: a busy machine is not a failure.
settings.register_profile("ltqlib", derandomize=True, deadline=None)
settings.load_profile("ltqlib")


@pytest.fixture(scope="session", autouse=True)
def single_thread() -> None:
    """Sums in one order, and room for other processes."""
    torch.set_num_threads(1)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project folder: nothing that a test writes leaves it."""
    monkeypatch.setenv("LTQ_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def tiny_folder(home: Path) -> Path:
    """Three classes of 32x32 images, each a colour with noise: 12 to train, 6 to test."""
    folder, generator = home / "tiny", np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 6)):
        for channel, name in enumerate(("blue", "green", "red")):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 100, (32, 32, 3), dtype=np.uint8)
                pixels[..., 2 - channel] += 120
                Image.fromarray(pixels).save(folder / split / name / f"{number:02}.png")
    return folder


@pytest.fixture(scope="session")
def digits() -> data.Dataset:
    """scikit-learn's digits as a data set."""
    return data.load("digits")


@pytest.fixture(scope="session")
def smoke_images(digits: data.Dataset) -> data.Images:
    """The test images of the digits, uint8 (500, 32, 32, 3)."""
    return digits.test_images


@pytest.fixture(scope="session")
def smoke_network(digits: data.Dataset) -> Network:
    """VGG16 at 1/16 of the width after a few epochs on the digits, in eval mode, not folded."""
    network, _ = train(from_profile("smoke", epochs=4), digits, torch.device("cpu"))
    return network


@pytest.fixture(scope="session")
def folded_network(smoke_network: Network) -> Network:
    """``smoke_network`` with its BatchNorms folded."""
    return fold_batchnorm(smoke_network)
