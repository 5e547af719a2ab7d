"""Corruptions: the recipe's formulas, deterministic, and test sets that are otherwise alike."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from ltqlib.data import Split
from ltqlib.deploy.shift import STRENGTHS, corrupt, corrupted
from ltqlib.errors import InputError


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """uint8 (6, 32, 32, 3), smooth with some noise."""
    rng = np.random.default_rng(0)
    base = np.kron(rng.integers(40, 200, (6, 4, 4, 3)), np.ones((1, 8, 8, 1)))
    return (base + rng.integers(0, 30, (6, 32, 32, 3))).astype(np.uint8)


@pytest.mark.parametrize("kind", STRENGTHS)
def test_pixels_stay_pixels_and_the_same(kind: str, images: np.ndarray) -> None:
    once, again = corrupt(images, kind), corrupt(images, kind)
    assert (once.dtype, once.shape) == (np.uint8, images.shape)
    assert np.array_equal(once, again)
    harm = [np.square(corrupt(images, kind, s).astype(float) - images).mean() for s in (1, 3, 5)]
    assert harm[0] < harm[1] < harm[2]


def test_noise_has_the_strength_of_the_recipe() -> None:
    grey = np.full((1, 64, 64, 3), 128, np.uint8)
    noise = corrupt(grey, "noise", 3).astype(float) - 128
    assert noise.std() / 255 == pytest.approx(0.08, rel=0.03)
    assert not np.array_equal(noise, corrupt(grey, "noise", 3, seed=1) - 128.0)


def test_contrast_shrinks_towards_the_mean_of_each_channel(images: np.ndarray) -> None:
    x = images[0] / 255
    expected = (x - x.mean((0, 1))) * 0.4 + x.mean((0, 1))
    assert np.abs(corrupt(images, "contrast", 3)[0] - 255 * expected).max() <= 1


def test_blur_is_a_gaussian(images: np.ndarray) -> None:
    steps = torch.arange(-3, 4).double()
    line = torch.exp(-(steps**2) / (2 * 0.7**2))
    kernel = torch.outer(line, line) / line.sum() ** 2
    x = torch.from_numpy(images[:1]).permute(0, 3, 1, 2).double()
    padded = torch.nn.functional.pad(x, (3, 3, 3, 3), mode="replicate")
    found = torch.nn.functional.conv2d(padded, kernel.expand(3, 1, 7, 7), groups=3)
    expected = found.permute(0, 2, 3, 1).numpy()
    assert np.abs(corrupt(images[:1], "blur", 3) - expected).max() <= 1


def test_jpeg_is_that_of_pillow(images: np.ndarray) -> None:
    held = io.BytesIO()
    Image.fromarray(images[2]).save(held, "JPEG", quality=58)
    assert np.array_equal(corrupt(images, "jpeg", 3)[2], np.asarray(Image.open(held)))


def test_test_sets_under_corruption(images: np.ndarray) -> None:
    split = Split.of(images, [0, 0, 0, 1, 1, 1], counts=[9, 2])
    found = corrupted(split, ["noise", "jpeg"], severity=2)
    assert list(found) == ["noise 2", "jpeg 2"]
    assert len({split.identity, *(one.identity for one in found.values())}) == 3
    assert np.array_equal(found["jpeg 2"].images, corrupt(images, "jpeg", 2))
    assert np.array_equal(found["jpeg 2"].labels, split.labels)
    assert found["noise 2"].groups == split.groups


def test_what_is_unknown_is_refused(images: np.ndarray) -> None:
    with pytest.raises(InputError, match="'snow' is unknown: use one of noise"):
        corrupt(images, "snow")
    with pytest.raises(InputError, match="give 1 to 5"):
        corrupt(images, "noise", 6)
