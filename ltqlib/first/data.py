"""Data sets in memory: three sources behind one interface, and batches made on the device.

Images are kept as one uint8 array ``(N, H, W, 3)``; crops and flips are tensor indexing on whole
batches, so there are no worker processes. ``torch`` is imported only where batches are made.
"""

import hashlib
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ltqlib.first import longtail, paths
from ltqlib.first.errors import InputError, disk_errors
from ltqlib.first.files import write_whole

if TYPE_CHECKING:
    import torch

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]
SIZE = 32  # pixels of an image's side: what the networks are made for
PAD = 4  # pixels of reflection around an image before a random crop
CIFAR10_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
CIFAR10_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
CIFAR10_CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".webp")


@dataclass(frozen=True)
class Dataset:
    """A classification data set in memory.

    ``train_images`` and ``test_images`` are uint8 ``(N, H, W, 3)``; labels are int64 ``(N,)``.
    """

    source: str
    classes: tuple[str, ...]
    train_images: Images
    train_labels: Labels
    test_images: Images
    test_labels: Labels
    note: str = ""

    def fingerprint(self) -> str:
        """SHA-256 (16 digits) over shapes, pixels and labels: which images exactly."""
        digest = hashlib.sha256()
        for array in (self.train_images, self.train_labels, self.test_images, self.test_labels):
            digest.update(repr((array.dtype.str, array.shape)).encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()[:16]

    @property
    def n_max(self) -> int:
        """Images of the smallest class: the most that every class can give."""
        return int(np.bincount(self.train_labels, minlength=len(self.classes)).min())

    def long_tailed(
        self, imbalance_factor: float, class_order: tuple[int, ...] = ()
    ) -> tuple[list[int], longtail.Indices]:
        """Counts by class and the indices of the long-tailed training subset."""
        counts = longtail.long_tailed_counts(
            self.n_max, len(self.classes), imbalance_factor, class_order
        )
        return counts, longtail.nested_subset(self.train_labels, counts)


def load(source: str) -> Dataset:
    """The data set of ``source``: ``cifar10``, ``digits`` or ``folder:PATH``.

    Raises:
        InputError: unknown source, missing or half-downloaded data, a class missing on one side,
            a file that is not an image or of another size.
    """
    if source == "digits":
        return _digits()
    if source == "cifar10":
        return _cifar10()
    if source.startswith("folder:"):
        path = Path(source.removeprefix("folder:")).expanduser()
        return _folder(path if path.is_absolute() else paths.root() / path)
    raise InputError(f"data source {source!r} is unknown: use cifar10, digits or folder:PATH")


def _digits() -> Dataset:
    """scikit-learn's 8x8 digits, enlarged to 32x32: 120 to train, 50 to test, of each class."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    small = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    images = np.repeat(np.kron(small, np.ones((1, 4, 4), np.uint8))[..., None], 3, axis=3)
    members = [np.flatnonzero(bunch.target == label) for label in range(10)]
    train = np.concatenate([m[:120] for m in members])
    test = np.concatenate([m[120:170] for m in members])
    labels = bunch.target.astype(np.int64)
    return Dataset(
        "digits",
        tuple(str(label) for label in range(10)),
        images[train],
        labels[train],
        images[test],
        labels[test],
        "scikit-learn's digits, 8x8 pixels enlarged to 32x32",
    )


def _cifar10() -> Dataset:
    """The official CIFAR-10, downloaded and verified by torchvision on first use.

    The binary version, not the Python one that torchvision's own class reads: that is a pickle.
    """
    from torchvision.datasets.utils import download_url

    archive = paths.data(CIFAR10_URL.rsplit("/", 1)[1])
    try:
        with disk_errors(archive):
            archive.parent.mkdir(parents=True, exist_ok=True)
            download_url(CIFAR10_URL, str(archive.parent), archive.name, md5=CIFAR10_MD5)
    except (RuntimeError, OSError) as error:
        raise InputError(
            f"cifar10: {archive} is missing or incomplete and cannot be downloaded "
            f"({str(error).splitlines()[0]}): delete it and try again with a network, or use "
            "--data folder:PATH"
        ) from error
    train, test = _read_cifar10(archive)
    return Dataset("cifar10", CIFAR10_CLASSES, *train, *test, "official CIFAR-10, MD5 verified")


def _read_cifar10(archive: Path) -> tuple[tuple[Images, Labels], tuple[Images, Labels]]:
    """(images, labels) of both splits; a record is one label byte and 3 x 32 x 32 pixels."""
    parts: dict[str, npt.NDArray[np.uint8]] = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            file = tar.extractfile(member)
            if file is not None and member.name.endswith(".bin"):
                content = np.frombuffer(file.read(), np.uint8)
                parts[Path(member.name).stem] = content.reshape(-1, 1 + 3 * SIZE * SIZE)
    train = np.concatenate([parts[f"data_batch_{number}"] for number in range(1, 6)])

    def split(records: npt.NDArray[np.uint8]) -> tuple[Images, Labels]:
        planes = records[:, 1:].reshape(-1, 3, SIZE, SIZE)
        return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), records[:, 0].astype(np.int64)

    return split(train), split(parts["test_batch"])


def _folder(path: Path) -> Dataset:
    """Any image folder ``train/<class>/*`` and ``test/<class>/*`` with images of one size."""
    files = {split: _list_images(path, split) for split in ("train", "test")}
    classes = sorted(files["train"].keys() | files["test"].keys())
    if len(classes) < 2:
        raise InputError(
            f"{path / 'train'} has {len(classes)} class folder(s): a folder source needs at least "
            "two, train/<class>/ and test/<class>/"
        )
    for split, found in files.items():
        if missing := [name for name in classes if not found.get(name)]:
            raise InputError(
                f"{path / split} has no image of class {missing[0]!r}: every class needs images "
                "in train/ and test/"
            )
    arrays = _cached(path, files, classes)
    if arrays["train_images"].shape[1:3] != (SIZE, SIZE):
        height, width = arrays["train_images"].shape[1:3]
        raise InputError(
            f"{path} has images of {width}x{height} pixels, the networks here take {SIZE}x{SIZE}: "
            "resize them"
        )
    return Dataset(
        f"folder:{path.name}",
        tuple(classes),
        arrays["train_images"],
        arrays["train_labels"],
        arrays["test_images"],
        arrays["test_labels"],
        f"image folder {path.name} (not verified against an official release)",
    )


def _list_images(path: Path, split: str) -> dict[str, list[Path]]:
    folder = path / split
    if not folder.is_dir():
        raise InputError(f"{folder} does not exist: a folder source needs train/ and test/")
    return {
        sub.name: sorted(f for f in sub.iterdir() if f.suffix.lower() in EXTENSIONS)
        for sub in sorted(folder.iterdir())
        if sub.is_dir()
    }


def _cached(
    path: Path, files: dict[str, dict[str, list[Path]]], classes: list[str]
) -> dict[str, npt.NDArray]:
    """Decoded images, kept as safetensors so that the next run starts in a second."""
    from safetensors.numpy import load_file, save

    key = hashlib.sha256()
    for split, found in files.items():
        for name in classes:
            for file in found[name]:
                status = file.stat()
                key.update(
                    f"{split}/{name}/{file.name} {status.st_size} {status.st_mtime_ns}\n".encode()
                )
    target = paths.cache(f"images-{key.hexdigest()[:16]}.safetensors")
    if target.exists():
        try:
            return load_file(target)
        except Exception:  # a damaged cache is made again, it holds nothing of its own
            target.unlink()
    arrays: dict[str, npt.NDArray] = {}
    for split, found in files.items():
        images, labels = _decode_all(found, classes)
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = images, labels
    if arrays["train_images"].shape[1:] != arrays["test_images"].shape[1:]:
        raise InputError(f"{path}: train and test images differ in size: resize them to one size")
    write_whole(target, save(arrays))
    return arrays


def _decode_all(found: dict[str, list[Path]], classes: list[str]) -> tuple[Images, Labels]:
    from PIL import Image

    pixels: list[Images] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        for file in found[name]:
            try:
                with Image.open(file) as image:
                    array = np.asarray(image.convert("RGB"))
            except Exception as error:
                raise InputError(
                    f"{file} does not decode as an image ({type(error).__name__}): "
                    "replace or remove it"
                ) from error
            if pixels and array.shape != pixels[0].shape:
                raise InputError(
                    f"{file} is {array.shape[1]}x{array.shape[0]} pixels, the others are "
                    f"{pixels[0].shape[1]}x{pixels[0].shape[0]}: resize them to one size"
                )
            pixels.append(array)
            labels.append(label)
    return np.stack(pixels), np.array(labels, dtype=np.int64)


class Batches:
    """Random training batches, assembled on the device by tensor indexing.

    Yields ``(images, labels)`` with images uint8 ``(B, 3, H, W)`` in channels_last memory. The
    draw of an epoch depends on ``(seed, epoch)`` alone, so a resumed run sees the same batches.
    """

    def __init__(
        self,
        images: Images,
        labels: Labels,
        *,
        batch_size: int,
        sampler: str,
        augment: str,
        seed: int,
        device: "torch.device",
    ) -> None:
        import torch

        self.batch_size, self.sampler, self.augment, self.seed = batch_size, sampler, augment, seed
        pad = ((0, 0), (PAD, PAD), (PAD, PAD), (0, 0))
        padded = np.pad(images, pad, mode="reflect") if augment != "none" else images
        self.images = torch.from_numpy(np.ascontiguousarray(padded)).to(device)
        self.labels = torch.from_numpy(labels).to(device)
        self.size = images.shape[1:3]
        self.weights = sampling_weights(labels, sampler)

    def __len__(self) -> int:
        """Full batches an epoch; the few images left over are left out."""
        return max(1, len(self.labels) // self.batch_size)

    def epoch(self, epoch: int) -> Iterator[tuple["torch.Tensor", "torch.Tensor"]]:
        """The batches of one epoch."""
        import torch

        generator = torch.Generator().manual_seed(self.seed * 100_003 + epoch)
        n = len(self.labels)
        if self.weights is None:
            order = torch.randperm(n, generator=generator)
        else:
            order = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        for step in range(len(self)):
            index = order[step * self.batch_size : (step + 1) * self.batch_size]
            rows, cols = self._windows(len(index), generator)
            index = index.to(self.images.device)
            batch = self.images[index[:, None, None], rows[:, :, None], cols[:, None, :]]
            yield batch.permute(0, 3, 1, 2), self.labels[index]

    def _windows(
        self, n: int, generator: "torch.Generator"
    ) -> tuple["torch.Tensor", "torch.Tensor"]:
        """Row and column indices (n, H) and (n, W) of a random crop; a flip reverses columns."""
        import torch

        height, width = self.size
        rows, cols = torch.arange(height).repeat(n, 1), torch.arange(width).repeat(n, 1)
        if self.augment == "crop-flip":
            flip = torch.randint(0, 2, (n, 1), generator=generator).bool()
            cols = torch.where(flip, width - 1 - cols, cols)
        if self.augment != "none":
            rows = rows + torch.randint(0, 2 * PAD + 1, (n, 1), generator=generator)
            cols = cols + torch.randint(0, 2 * PAD + 1, (n, 1), generator=generator)
        device = self.images.device
        return rows.to(device), cols.to(device)


def in_order(images: Images, batch: int, device: "torch.device") -> Iterator["torch.Tensor"]:
    """Images (N, H, W, 3) in their order, as uint8 ``(B, 3, H, W)`` in channels_last memory."""
    import torch

    for start in range(0, len(images), batch):
        yield torch.from_numpy(images[start : start + batch]).permute(0, 3, 1, 2).to(device)


def sampling_weights(labels: Labels, sampler: str) -> "torch.Tensor | None":
    """Probability weight of each image: None (instance-balanced), n_c**-1 or n_c**-0.5.

    Instance-, class-balanced and square-root sampling of Kang et al. (2020), section 3: the class
    is drawn with probability proportional to n_c**q, q = 1, 0 and 1/2.
    """
    import torch

    if sampler == "instance":
        return None
    power = {"class": -1.0, "square-root": -0.5}[sampler]
    counts = np.bincount(labels).astype(float)
    return torch.from_numpy(counts[labels] ** power)
