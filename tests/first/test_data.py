"""Data: the sources and what they refuse, the cache of decoded images, and batches."""

import errno
import io
import os
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats

from ltqlib.first import data, paths
from ltqlib.first.errors import InputError

GENERATOR = np.random.default_rng(0)
PHOTOS = GENERATOR.integers(0, 256, (24, 12, 10, 3), dtype=np.uint8)  # not square on purpose


def batches_of(images=PHOTOS, labels=None, **changes):
    labels = np.arange(len(images)) if labels is None else labels
    told = {"batch_size": 8, "sampler": "instance", "augment": "crop-flip", "seed": 0, **changes}
    return data.Batches(images, labels, device=torch.device("cpu"), **told)


def refusal(source: str) -> str:
    with pytest.raises(InputError) as caught:
        data.load(source)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_digits_are_balanced_and_enlarged(digits):
    assert digits.train_images.shape == (1_200, 32, 32, 3)
    assert digits.test_images.shape == (500, 32, 32, 3)
    assert digits.train_images.dtype == digits.test_images.dtype == np.uint8
    assert np.bincount(digits.train_labels).tolist() == [120] * 10
    assert np.bincount(digits.test_labels).tolist() == [50] * 10
    assert digits.n_max == 120


def test_digits_train_and_test_share_no_image(digits):
    train, test = (
        {image.tobytes() for image in images}
        for images in (digits.train_images, digits.test_images)
    )
    assert not train & test


def test_a_folder_is_read_in_the_order_of_its_classes(tiny_folder):
    found = data.load(f"folder:{tiny_folder}")
    assert found.classes == ("blue", "green", "red")
    assert np.bincount(found.train_labels).tolist() == [12, 12, 12]
    assert np.bincount(found.test_labels).tolist() == [6, 6, 6]
    strongest = found.train_images.mean((1, 2)).argmax(1)  # blue is channel 2
    assert np.array_equal(strongest, 2 - found.train_labels)
    with Image.open(tiny_folder / "test" / "green" / "00.png") as image:
        assert np.array_equal(found.test_images[6], np.asarray(image))


def test_a_relative_folder_lies_in_the_home_folder(tiny_folder):
    relative, absolute = data.load("folder:tiny"), data.load(f"folder:{tiny_folder}")
    assert relative.fingerprint() == absolute.fingerprint()
    assert relative.source == "folder:tiny"


def empty_class(folder: Path):
    for file in (folder / "train" / "red").iterdir():
        file.rename(file.with_suffix(".txt"))


def cut_file(folder: Path):
    file = folder / "test" / "blue" / "03.png"
    file.write_bytes(file.read_bytes()[:200])


def not_an_image(folder: Path):
    (folder / "train" / "green" / "05.png").write_text("no pixels here")


def other_size(folder: Path):
    Image.new("RGB", (20, 24)).save(folder / "train" / "blue" / "07.png")


def other_size_in_test(folder: Path):
    for file in (folder / "test").rglob("*.png"):
        Image.new("RGB", (16, 16)).save(file)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        pytest.param(
            lambda folder: shutil.rmtree(folder / "test" / "red"),
            ["test has no image of class 'red'"],
            id="class-not-in-test",
        ),
        pytest.param(
            lambda folder: shutil.rmtree(folder / "train" / "blue"),
            ["train has no image of class 'blue'"],
            id="class-not-in-train",
        ),
        pytest.param(empty_class, ["train has no image of class 'red'"], id="empty-class"),
        pytest.param(cut_file, ["blue/03.png does not decode"], id="cut-file"),
        pytest.param(not_an_image, ["green/05.png does not decode"], id="not-an-image"),
        pytest.param(other_size, ["blue/07.png is 20x24", "are 32x32"], id="other-size"),
        pytest.param(other_size_in_test, ["tiny: train and test images differ"], id="sizes-differ"),
        pytest.param(
            lambda folder: shutil.rmtree(folder / "test"), ["test does not exist"], id="no-test"
        ),
        pytest.param(shutil.rmtree, ["tiny/train does not exist"], id="no-folder"),
    ],
)
def test_a_folder_that_cannot_be_used_is_refused_by_name(tiny_folder, damage, says):
    damage(tiny_folder)
    message = refusal(f"folder:{tiny_folder}")
    assert all(part in message for part in says)


def test_an_unknown_source_is_refused():
    assert "'mnist' is unknown" in refusal("mnist")


def test_decoded_images_are_cached(tiny_folder, monkeypatch):
    first = data.load(f"folder:{tiny_folder}")
    monkeypatch.setattr("PIL.Image.open", lambda *_: pytest.fail("decoded again"))
    second = data.load(f"folder:{tiny_folder}")
    for name in ("train_images", "train_labels", "test_images", "test_labels"):
        assert np.array_equal(getattr(first, name), getattr(second, name))


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda content: content[: len(content) // 2], id="cut"),
        pytest.param(lambda content: b"", id="empty"),
        pytest.param(lambda content: b"\xff" * 100, id="garbage"),
    ],
)
def test_a_damaged_cache_is_made_again(tiny_folder, damage):
    before = data.load(f"folder:{tiny_folder}").fingerprint()
    [cache] = paths.cache().iterdir()
    content = cache.read_bytes()
    cache.write_bytes(damage(content))
    assert data.load(f"folder:{tiny_folder}").fingerprint() == before
    assert cache.read_bytes() == content


def test_a_changed_file_of_the_same_size_is_decoded_again(tiny_folder):
    file, found = tiny_folder / "test" / "red" / "05.png", []
    for color in ("black", "white"):
        Image.new("RGB", (32, 32), color).save(file, compress_level=0)
        found.append((file.stat().st_size, data.load(f"folder:{tiny_folder}")))
    (one_size, before), (other_size, after) = found
    assert one_size == other_size
    assert (after.test_images[17] == 255).all()
    assert after.fingerprint() != before.fingerprint()


@pytest.mark.parametrize("name", ["train_images", "train_labels", "test_images", "test_labels"])
def test_the_fingerprint_changes_with_one_value(digits, name):
    changed = getattr(digits, name).copy()
    changed.flat[77] ^= 1
    assert replace(digits, **{name: changed}).fingerprint() != digits.fingerprint()


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


def write_cifar10(path: Path, images: int = 7) -> np.ndarray:
    """An archive in the layout of CIFAR-10's binary version; returns the pixels of batch 1."""
    generator, first = np.random.default_rng(0), np.zeros(0)
    with tarfile.open(path, "w:gz") as tar:
        for name in (*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"):
            pixels = generator.integers(0, 256, (images, 3, 32, 32), dtype=np.uint8)
            labels = np.arange(images, dtype=np.uint8)[:, None] % 10
            content = np.hstack([labels, pixels.reshape(images, -1)]).tobytes()
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}.bin")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
            first = pixels if name == "data_batch_1" else first
    return first


def test_cifar10_binary_layout(tmp_path: Path) -> None:
    pixels = write_cifar10(tmp_path / "cifar.tar.gz")
    (images, labels), (test_images, test_labels) = data._read_cifar10(tmp_path / "cifar.tar.gz")
    assert images.shape == (35, 32, 32, 3)
    assert test_images.shape == (7, 32, 32, 3)
    np.testing.assert_array_equal(images[3, 5, 9], pixels[3, :, 5, 9])
    np.testing.assert_array_equal(labels[:7], np.arange(7))
    assert test_labels.dtype == np.int64


def test_a_half_downloaded_cifar10_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = home / "data" / "cifar-10-binary.tar.gz"
    archive.parent.mkdir()
    archive.write_bytes(b"half")
    monkeypatch.setattr(data, "CIFAR10_URL", f"file:///nowhere/{archive.name}")
    with pytest.raises(InputError, match="missing or incomplete") as caught:
        data.load("cifar10")
    assert str(archive) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_with_one_class_is_refused(home: Path) -> None:
    for split in ("train", "test"):
        folder = home / "one" / split / "cat"
        folder.mkdir(parents=True)
        Image.new("RGB", (32, 32)).save(folder / "0.png")
    with pytest.raises(InputError, match="at least two"):
        data.load(f"folder:{home / 'one'}")


def test_images_of_another_size_are_refused_before_training(home: Path) -> None:
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            folder = home / "large" / split / name
            folder.mkdir(parents=True)
            Image.new("RGB", (64, 48)).save(folder / "0.png")
    with pytest.raises(InputError, match="64x48 pixels, the networks here take 32x32"):
        data.load(f"folder:{home / 'large'}")


def test_a_full_disk_leaves_no_half_of_the_cache(
    tiny_folder: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="disk is full"):
        data.load(f"folder:{tiny_folder}")
    assert not [path for path in (home / "runs").rglob("*") if path.is_file()]
