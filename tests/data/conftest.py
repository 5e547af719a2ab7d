"""Image folders made by hand, and the digits."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ltqlib.data import Source
from ltqlib.data.digits import digits as digits_source

Make = Callable[..., Path]


def _write_image(file: Path, number: int = 0, size: tuple[int, int] = (32, 32)) -> None:
    """A small image of noise, the same for the same number."""
    pixels = np.random.default_rng(number).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file)


@pytest.fixture(scope="session")
def write_image() -> Callable[..., None]:
    """Write a small image of noise: (file, number, size)."""
    return _write_image


@pytest.fixture(scope="session")
def digits() -> Source:
    """scikit-learn's digits before a long tail is cut from them."""
    return digits_source()


@pytest.fixture
def make_folder(home: Path) -> Make:
    """Make ``<home>/<name>`` with images of noise: training and test images of each class."""

    def make(
        train: Mapping[str, int] | None = None,
        test: Mapping[str, int] | None = None,
        name: str = "photos",
        size: tuple[int, int] = (32, 32),
    ) -> Path:
        train = {"cat": 3, "dog": 2} if train is None else train
        test = dict.fromkeys(train, 1) if test is None else test
        number = 0
        for split, classes in (("train", train), ("test", test)):
            for folder, count in classes.items():
                (home / name / split / folder).mkdir(parents=True)
                for index in range(count):
                    _write_image(home / name / split / folder / f"{index:03}.png", number, size)
                    number += 1
        return home / name

    return make


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
