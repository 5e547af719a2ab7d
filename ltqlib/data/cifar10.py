"""CIFAR-10 (Krizhevsky, 2009): the six official batches, wherever they come from.

The binary version, not the Python one, which is a pickle. Each batch is held to its SHA-256, so a
copy that went through JPEG, or a damaged one, is refused.
"""

import hashlib
import sys
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from ltqlib import paths
from ltqlib.data.source import SIZE, Images, Labels, Source
from ltqlib.errors import InputError, disk_errors

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
MD5 = "c32a1d4ab5d03f1284b67883e8d87530"  # of the archive, as its authors publish it
FOLDER = "cifar-10-batches-bin"  # in the archive, and below the project's data folder
SHA256 = {
    "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
    "data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
    "data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
    "data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
    "data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
    "test_batch.bin": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
}
CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
FINGERPRINT = "4b14b337d3b6300d"


def cifar10() -> Source:
    """The official CIFAR-10: 5,000 images to train and 1,000 to test of each of ten classes.

    All but the images is known, so nothing is read or downloaded before they are asked for.
    """
    return Source(
        name="cifar10",
        identity="cifar10",
        fingerprint=FINGERPRINT,
        note="official CIFAR-10, six binary batches verified by SHA-256",
        classes=CLASSES,
        counts=(5_000,) * len(CLASSES),
        test_counts=(1_000,) * len(CLASSES),
        read=_read,
    )


def _read(split: Literal["train", "test"]) -> tuple[Images, Labels]:
    """Images and labels of a split; a record is one label byte and 3 x 32 x 32 pixels."""
    names = [name for name in SHA256 if name.startswith("test") == (split == "test")]
    content = np.frombuffer(b"".join(_batches(names)), np.uint8)
    records = content.reshape(-1, 1 + 3 * SIZE * SIZE)
    planes = records[:, 1:].reshape(-1, 3, SIZE, SIZE)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), records[:, 0].astype(np.int64)


def _batches(names: Sequence[str]) -> list[bytes]:
    """The verified batches, from the folder where they are there, else from the archive."""
    folder = paths.data(FOLDER)
    there = [name for name in names if (folder / name).is_file()]
    with disk_errors(folder):
        found = {name: (folder / name).read_bytes() for name in there}
    for name in there:
        _verify(name, found[name], folder / name)
    if missing := [name for name in names if name not in found]:
        archive = _download()
        found |= _unpack(archive, missing)
        for name in missing:
            _verify(name, found[name], archive)
    return [found[name] for name in names]


def _verify(name: str, content: bytes, place: Path) -> None:
    if hashlib.sha256(content).hexdigest() != SHA256[name]:
        raise InputError(
            f"cifar10: {name} in {place} is not the official batch (its SHA-256 differs): delete "
            "it and run again, the official archive is then read or downloaded"
        )


def _download() -> Path:
    """The archive, verified by its MD5; downloaded where it is missing or another."""
    import pooch  # type: ignore[import-untyped]

    archive = paths.data(URL.rsplit("/", 1)[1])
    try:
        with disk_errors(archive):
            pooch.retrieve(
                URL,
                known_hash=f"md5:{MD5}",
                fname=archive.name,
                path=archive.parent,
                progressbar=sys.stderr.isatty(),
            )
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(
            f"cifar10: {archive} is missing or incomplete and cannot be downloaded "
            f"({type(error).__name__}: {' '.join(str(error).split())[:200]}): put the archive "
            f"there, or its six batches into {archive.parent / FOLDER}, or use folder:PATH"
        ) from error
    return archive


def _unpack(archive: Path, names: Sequence[str]) -> dict[str, bytes]:
    """Members of the archive, read in memory: nothing is unpacked onto the disk."""
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                name = member.name.rsplit("/", 1)[-1]
                if name in names and (file := tar.extractfile(member)) is not None:
                    found[name] = file.read()
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise InputError(f"cifar10: {archive} cannot be read: delete it, run again") from error
    if absent := [name for name in names if name not in found]:
        raise InputError(f"cifar10: {archive} has no {absent[0]}: delete it and run again")
    return found
