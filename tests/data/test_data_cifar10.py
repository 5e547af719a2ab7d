"""CIFAR-10: where its six batches may come from, and what is refused."""

import hashlib
import io
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest

from ltqlib import paths
from ltqlib.data import cifar10, fingerprint, load_data
from ltqlib.errors import InputError

IMAGES = 7  # of each small batch
NOWHERE = "file:///nowhere/cifar-10-binary.tar.gz"


@pytest.fixture
def batches(home: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Six small batches that count as the official ones; nothing can be downloaded."""
    generator, made = np.random.default_rng(0), {}
    for name in cifar10.SHA256:
        labels = np.arange(IMAGES, dtype=np.uint8)[:, None] % 10
        pixels = generator.integers(0, 256, (IMAGES, 3 * 32 * 32), dtype=np.uint8)
        made[name] = np.hstack([labels, pixels]).tobytes()
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in made.items()}
    monkeypatch.setattr(cifar10, "SHA256", sums)
    monkeypatch.setattr(cifar10, "URL", NOWHERE)
    return made


def write_folder(batches: dict[str, bytes]) -> Path:
    folder = paths.data(cifar10.FOLDER)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in batches.items():
        (folder / name).write_bytes(content)
    return folder


def write_archive(batches: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The batches as an archive that counts as the official one."""
    archive = paths.data("cifar-10-binary.tar.gz")
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w:gz") as tar:
        for name, content in batches.items():
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    monkeypatch.setattr(cifar10, "MD5", hashlib.md5(archive.read_bytes()).hexdigest())
    return archive


def first_pixels(batches: dict[str, bytes]) -> np.ndarray:
    records = np.frombuffer(batches["data_batch_1.bin"], np.uint8).reshape(IMAGES, -1)
    return records[:, 1:].reshape(IMAGES, 3, 32, 32)


def test_everything_but_the_images_is_known(home: Path) -> None:
    data = load_data("cifar10", imbalance_factor=0.01)
    assert data.counts == (5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50)
    assert data.classes[3] == "cat"
    assert data.groups == {"head": (0, 1, 2, 3), "tail": (4, 5, 6, 7, 8, 9)}
    assert (data.identity, data.fingerprint) == ("cifar10", "4b14b337d3b6300d")
    assert [len(half) for half in data.test.halves()] == [5_000, 5_000]
    assert not list(home.iterdir())


def test_the_folder_of_batches_is_read(batches) -> None:
    write_folder(batches)
    source = cifar10.cifar10()
    (images, labels), (test_images, test_labels) = source.train, source.test
    assert images.shape == (5 * IMAGES, 32, 32, 3)
    assert test_images.shape == (IMAGES, 32, 32, 3)
    np.testing.assert_array_equal(images[3, 5, 9], first_pixels(batches)[3, :, 5, 9])
    np.testing.assert_array_equal(labels[:IMAGES], np.arange(IMAGES))
    assert test_labels.dtype == np.int64


def test_the_archive_is_read_where_the_folder_is_not(batches, monkeypatch) -> None:
    write_archive(batches, monkeypatch)
    images, _ = cifar10.cifar10().train
    np.testing.assert_array_equal(images[3, 5, 9], first_pixels(batches)[3, :, 5, 9])
    assert [path.name for path in paths.data().iterdir()] == ["cifar-10-binary.tar.gz"]


def test_a_batch_that_the_folder_lacks_comes_from_the_archive(batches, monkeypatch) -> None:
    write_archive(batches, monkeypatch)
    folder = write_folder(batches)
    (folder / "data_batch_4.bin").unlink()
    from_both, _ = cifar10.cifar10().train
    shutil.rmtree(folder)
    assert np.array_equal(cifar10.cifar10().train[0], from_both)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda content: content[:-1], id="cut"),
        pytest.param(lambda content: b"", id="empty"),
        pytest.param(lambda content: content[:100] + b"x" + content[101:], id="one-byte"),
    ],
)
def test_a_batch_that_is_not_the_official_one_is_named(batches, damage) -> None:
    batch = write_folder(batches) / "data_batch_2.bin"
    batch.write_bytes(damage(batches["data_batch_2.bin"]))
    with pytest.raises(InputError, match="is not the official batch") as caught:
        _ = load_data("cifar10").images
    assert str(batch) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert load_data("cifar10").test.images.shape == (IMAGES, 32, 32, 3)  # another batch


def test_a_half_downloaded_archive_is_named(batches) -> None:
    archive = paths.data("cifar-10-binary.tar.gz")
    archive.parent.mkdir()
    archive.write_bytes(b"half")
    with pytest.raises(InputError, match="missing or incomplete and cannot be downl") as caught:
        _ = load_data("cifar10").images
    assert str(archive) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [path.name for path in paths.data().iterdir()] == [archive.name]


def test_without_the_data_nothing_is_left_behind(batches, home: Path) -> None:
    with pytest.raises(InputError, match="put the archive there, or its six batches into"):
        _ = load_data("cifar10").test.labels
    assert not [path for path in home.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        pytest.param(lambda made: made.pop("test_batch.bin"), "has no test_batch.bin", id="lacks"),
        pytest.param(
            lambda made: made.update({"test_batch.bin": b"other"}), "not the official", id="other"
        ),
    ],
)
def test_an_archive_with_other_batches_is_refused(batches, monkeypatch, change, says) -> None:
    change(batches)
    write_archive(batches, monkeypatch)
    with pytest.raises(InputError, match=says):
        _ = load_data("cifar10").test.images


def test_an_archive_that_is_none_is_refused(batches, monkeypatch) -> None:
    archive = write_archive(batches, monkeypatch)
    archive.write_bytes(archive.read_bytes()[:300])
    monkeypatch.setattr(cifar10, "MD5", hashlib.md5(archive.read_bytes()).hexdigest())
    with pytest.raises(InputError, match="cannot be read: delete it"):
        _ = load_data("cifar10").test.images


REAL = Path(__file__).parents[2] / "data"


@pytest.mark.slow
@pytest.mark.skipif(not (REAL / cifar10.FOLDER).is_dir(), reason="CIFAR-10 is not here")
def test_the_constants_are_those_of_the_official_images(monkeypatch) -> None:
    monkeypatch.setenv("LTQ_HOME", str(REAL.parent))
    source = cifar10.cifar10()
    assert fingerprint(*source.train, *source.test) == source.fingerprint
    assert tuple(np.bincount(source.train[1])) == source.counts
    assert tuple(np.bincount(source.test[1])) == source.test_counts
    data = load_data("cifar10", 0.01)
    assert tuple(np.bincount(data.labels)) == data.counts
    for half in data.test.halves():
        assert tuple(np.bincount(half.labels)) == half.sizes == (500,) * 10
