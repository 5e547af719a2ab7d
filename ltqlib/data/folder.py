"""Any image folder ``train/<class>/*``, ``test/<class>/*``, named by what it contains."""

import contextlib
import errno
import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from ltqlib import paths
from ltqlib.config import brief
from ltqlib.data.decode import SUFFIXES, check_regular, decode_all
from ltqlib.data.names import class_names, shown
from ltqlib.data.source import SIZE, Source, fingerprint
from ltqlib.errors import InputError
from ltqlib.files import write_whole

KINDS = ("images", "labels")
SPLITS: tuple[Literal["train"], Literal["test"]] = ("train", "test")
SIZES = (8, 512)  # pixels of a side, least and most
DECODER = 1  # raise it when the same files decode to other pixels: cached ones are then left alone
NEEDS = "a folder source needs train/<class>/ and test/<class>/ with images"
Files = dict[str, list[Path]]  # of each class


@dataclass(frozen=True, eq=False)
class Decoded:
    """``{train,test}_{images,labels}`` of a folder, and how many images had another size."""

    arrays: dict[str, npt.NDArray]
    resized: int

    @cached_property
    def fingerprint(self) -> str:
        """Of the four arrays, in the order train, test."""
        return fingerprint(*(self.arrays[f"{split}_{kind}"] for split in SPLITS for kind in KINDS))

    def checksum(self, key: str) -> str:
        """Of everything that is kept."""
        return hashlib.sha256(f"{key} {self.fingerprint} {self.resized}".encode()).hexdigest()


def folder(place: str, size: int = SIZE) -> Source:
    """The image folder at ``place``, its images resized to ``size`` pixels a side.

    Classes are the folders' names in the order of their bytes. Its identity is the SHA-256 of
    pixels and labels, so a copy elsewhere is the same data and a changed image makes other data.
    """
    if isinstance(size, bool) or not isinstance(size, int) or not SIZES[0] <= size <= SIZES[1]:
        raise InputError(f"size {brief(size)}: give a whole number from {SIZES[0]} to {SIZES[1]}")
    path = _resolve(place)
    files: dict[str, Files] = {split: _list_classes(path, split) for split in SPLITS}
    classes = _check_classes(path, files)
    decoded = _cached(path, files, classes, size)
    arrays, marks = decoded.arrays, decoded.fingerprint
    return Source(
        name=shown(path.name or str(path)),
        identity=f"folder:{marks}",
        fingerprint=marks,
        note=_note(path, decoded, size),
        classes=class_names(classes),
        counts=tuple(len(files["train"][name]) for name in classes),
        test_counts=tuple(len(files["test"][name]) for name in classes),
        read=lambda split: (arrays[f"{split}_images"], arrays[f"{split}_labels"]),
    )


def _note(path: Path, decoded: Decoded, size: int) -> str:
    total = sum(len(decoded.arrays[f"{split}_labels"]) for split in SPLITS)
    text = f"image folder {shown(path.name or str(path))} (not verified against a release)"
    if not decoded.resized:
        return text
    return (
        f"{text}; {decoded.resized:,} of {total:,} images resized to {size}x{size} pixels "
        "(bilinear, sides scaled separately)"
    )


def _resolve(place: str) -> Path:
    """The folder that ``place`` names; a relative one lies below the project's folder."""
    try:
        path = Path(place).expanduser()
        path = (path if path.is_absolute() else paths.root() / path).resolve()
        there = path.is_dir()
    except (OSError, RuntimeError, ValueError) as error:  # too long, ~nobody or a circle, NUL
        raise InputError(
            f"folder:{shown(place)} is no folder ({shown(str(error))}): {NEEDS}"
        ) from error
    if not there:
        what = "is not a folder" if path.exists() else "does not exist"
        raise InputError(f"{shown(path)} {what}: {NEEDS}")
    return path


def _entries(path: Path) -> list[os.DirEntry]:
    """What lies in a folder, hidden files left out, in the order of the names' bytes."""
    try:
        with os.scandir(path) as found:
            entries = [entry for entry in found if not entry.name.startswith(".")]
    except OSError as error:
        reason = "does not exist" if error.errno == errno.ENOENT else f"({error.strerror})"
        raise InputError(f"{shown(path)} {reason}: {NEEDS}") from error
    return sorted(entries, key=lambda entry: os.fsencode(entry.name))


def _list_classes(path: Path, split: str) -> Files:
    """The image files of each class folder."""
    found: Files = {}
    for entry in _entries(path / split):
        try:
            is_folder = entry.is_dir()
            nowhere = entry.is_symlink() and not Path(entry.path).exists()
        except OSError:  # links in a circle
            is_folder, nowhere = False, True
        if nowhere:
            raise InputError(
                f"{shown(entry.path)} is a symbolic link that leads nowhere: remove it"
            )
        if is_folder:
            found[entry.name] = [
                Path(file.path)
                for file in _entries(Path(entry.path))
                if file.name.lower().endswith(SUFFIXES)
            ]
    return found


def _check_classes(path: Path, files: Mapping[str, Files]) -> list[str]:
    """The names of the class folders, all of which have images on both sides."""
    classes = sorted(files["train"].keys() | files["test"].keys(), key=os.fsencode)
    if len(classes) < 2:
        raise InputError(
            f"{shown(path)} has {len(classes)} class folder(s): {NEEDS} of at least two classes"
        )
    for split in SPLITS:
        if missing := [name for name in classes if not files[split].get(name)]:
            raise InputError(
                f"{shown(path / split)} has no image of class '{shown(missing[0])}': every class "
                f"needs images ({', '.join(SUFFIXES[:4])} ...) in train/ and test/"
            )
    return classes


def _cached(path: Path, files: Mapping[str, Files], classes: Sequence[str], size: int) -> Decoded:
    """Decoded images, kept whole or not at all, so that the next run starts in a second.

    One safetensors file a folder, replaced when a file's name, length or time has changed.
    """
    from safetensors.numpy import save

    key = _key(files, classes, size)
    place = hashlib.sha256(os.fsencode(path) + b"\0%d" % size).hexdigest()[:16]
    target = paths.cache(f"images-{place}.safetensors")
    if (kept := _read_cache(target, key)) is not None:
        return kept
    decoded = _decode(path, files, classes, size)
    told = {
        "decoded": f"{decoded.checksum(key)} {decoded.resized}"
    }  # one entry: their order varies
    with contextlib.suppress(InputError):  # a disk that takes nothing: read again next time
        write_whole(target, save(decoded.arrays, told))
    return decoded


def _decode(path: Path, files: Mapping[str, Files], classes: Sequence[str], size: int) -> Decoded:
    """The images of both splits, class after class."""
    arrays: dict[str, npt.NDArray] = {}
    resized = 0
    for split in SPLITS:
        listed = [file for name in classes for file in files[split][name]]
        what = f"decoding {split} images of {shown(path.name)}"
        arrays[f"{split}_images"], other = decode_all(listed, size, what)
        lengths = [len(files[split][name]) for name in classes]
        arrays[f"{split}_labels"] = np.repeat(np.arange(len(classes), dtype=np.int64), lengths)
        resized += other
    return Decoded(arrays, resized)


def _key(files: Mapping[str, Files], classes: Sequence[str], size: int) -> str:
    """What decides the decoded images without decoding them: names, lengths and times."""
    key = hashlib.sha256(b"%d %d\n" % (DECODER, size))
    for split in SPLITS:
        for name in classes:
            for file in files[split][name]:
                status = check_regular(file)
                times = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
                key.update(os.fsencode(f"{split}/{name}/{file.name}") + b"\0%d %d %d\n" % times)
    return key.hexdigest()


def _read_cache(target: Path, key: str) -> Decoded | None:
    """What was kept of the folder with this ``key``; None if nothing whole was."""
    from safetensors import safe_open

    try:
        with safe_open(target, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            checksum, resized = file.metadata()["decoded"].split()
        decoded = Decoded(arrays, int(resized))
        same = checksum == decoded.checksum(key)
    except Exception:  # missing or damaged: made again, it holds nothing of its own
        return None
    return decoded if same else None
