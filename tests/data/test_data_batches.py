"""Training batches: what is drawn, how often, and that seed and epoch alone decide it."""

import hashlib

import numpy as np
import pytest
import torch
from scipy import stats

from ltqlib.data import Batches, in_order, sampling_weights

GENERATOR = np.random.default_rng(0)
PHOTOS = GENERATOR.integers(0, 256, (24, 12, 10, 3), dtype=np.uint8)  # not square on purpose


def batches_of(images=PHOTOS, labels=None, **changes):
    labels = np.arange(len(images)) if labels is None else labels
    told = {"batch_size": 8, "sampler": "instance", "augment": "crop-flip", "seed": 0, **changes}
    return Batches(images, labels, device=torch.device("cpu"), **told)


def test_batches_are_uint8_in_channels_last():
    for images, labels in batches_of().epoch(0):
        assert images.shape == (8, 3, 12, 10)
        assert images.dtype == torch.uint8
        assert images.is_contiguous(memory_format=torch.channels_last)
        assert labels.shape == (8,)
        assert labels.dtype == torch.int64


@pytest.mark.parametrize("sampler", ["instance", "square-root", "class"])
def test_seed_and_epoch_alone_decide_the_batches(sampler):
    def stream(seed, epoch):
        drawn = batches_of(labels=np.arange(24) % 5, sampler=sampler, seed=seed).epoch(epoch)
        return torch.cat([images for images, _ in drawn])

    torch.manual_seed(1)
    first = stream(seed=0, epoch=3)
    torch.manual_seed(2)
    assert torch.equal(stream(seed=0, epoch=3), first)
    assert not torch.equal(stream(seed=0, epoch=4), first)
    assert not torch.equal(stream(seed=1, epoch=3), first)


def test_without_augmentation_every_image_comes_once_an_epoch():
    drawn = list(batches_of(augment="none").epoch(0))
    images, labels = (torch.cat(parts).numpy() for parts in zip(*drawn, strict=True))
    assert sorted(labels) == list(range(24))
    assert np.array_equal(images.transpose(0, 2, 3, 1), PHOTOS[labels])


@pytest.mark.parametrize(
    ("batch_size", "sizes"),
    [pytest.param(10, [10, 10], id="rest-left-out"), pytest.param(100, [24], id="one-short-batch")],
)
def test_only_full_batches_unless_there_is_none(batch_size, sizes):
    batches = batches_of(batch_size=batch_size)
    assert [len(labels) for _, labels in batches.epoch(0)] == sizes
    assert len(batches) == len(sizes)


@pytest.mark.parametrize(("augment", "flips"), [("crop", {False}), ("crop-flip", {False, True})])
def test_images_are_windows_of_the_reflected_original(augment, flips):
    padded = torch.nn.functional.pad(
        torch.from_numpy(PHOTOS).permute(0, 3, 1, 2).float(), (4, 4, 4, 4), mode="reflect"
    ).to(torch.uint8)
    seen = []
    for images, labels in batches_of(augment=augment).epoch(0):
        for image, label in zip(images, labels, strict=True):
            windows = {
                (row, col, flip): window.flip(2) if flip else window
                for row in range(9)
                for col in range(9)
                for window in [padded[label, :, row : row + 12, col : col + 10]]
                for flip in (False, True)
            }
            seen.append(next(key for key, window in windows.items() if torch.equal(window, image)))
    assert {flip for _, _, flip in seen} == flips
    assert len({row for row, _, _ in seen}) > 5
    assert len({col for _, col, _ in seen}) > 5


@pytest.mark.parametrize(
    ("sampler", "power"), [("instance", 1.0), ("square-root", 0.5), ("class", 0.0)]
)
def test_samplers_draw_classes_in_proportion_to_a_power_of_their_counts(sampler, power):
    counts = np.array([200, 60, 30, 10])
    dots = np.zeros((300, 1, 1, 3), np.uint8)
    batches = batches_of(
        dots, np.repeat(np.arange(4), counts), sampler=sampler, augment="none", batch_size=300
    )
    drawn = sum(
        np.bincount(labels, minlength=4)
        for epoch in range(60)
        for _, labels in batches.epoch(epoch)
    )
    expected = counts**power / (counts**power).sum() * drawn.sum()
    assert stats.chisquare(drawn, expected).pvalue > 0.01


def test_images_in_their_order():
    batches = list(in_order(PHOTOS, 10, torch.device("cpu")))
    assert [len(batch) for batch in batches] == [10, 10, 4]
    together = torch.cat(batches)
    assert together.is_contiguous(memory_format=torch.channels_last)
    assert np.array_equal(together.permute(0, 2, 3, 1).numpy(), PHOTOS)


def test_sampling_weights_are_powers_of_the_counts():
    labels = np.array([0, 0, 0, 0, 1])
    assert sampling_weights(labels, "instance") is None
    assert sampling_weights(labels, "class").tolist() == [0.25] * 4 + [1]
    assert sampling_weights(labels, "square-root").tolist() == [0.5] * 4 + [1]


def test_the_draws_are_those_that_published_networks_were_trained_with():
    mark = hashlib.sha256()
    for epoch in (0, 7):
        for images, labels in batches_of(seed=3).epoch(epoch):
            mark.update(images.permute(0, 2, 3, 1).contiguous().numpy().tobytes())
            mark.update(labels.numpy().tobytes())
    assert mark.hexdigest()[:16] == "62ad88b3ff6087be"
