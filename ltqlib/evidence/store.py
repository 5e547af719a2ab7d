"""The store: one folder a network, published in ``results/``, working in ``runs/``.

::

    <digest>/network.json            configuration, data, layers, training, provenance
    <digest>/stage2.json             the classifiers of decoupled training
    <digest>/<name>-<key>.nc.xz      what was computed from it; <key> is a digest of how
    results/registry.txt             SHA-256 of every published file, as pooch reads it
    checkpoints/<digest>/*.safetensors, checkpoints/registry.txt       published weights

What is published is read first, then what is in ``runs/``; ``LTQ_FRESH=1`` leaves the former out,
so that everything is computed again. A network that was trained again has other weights under the
same digest: it is never mixed with the published one. The store knows nothing of what its files
mean.
"""

import contextlib
import functools
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import xarray as xr

from ltqlib import paths
from ltqlib.errors import InputError, disk_errors
from ltqlib.evidence.arrays import SUFFIX, decode, read_dataset, write_dataset
from ltqlib.evidence.records import Record, read_record, write_record

NETWORK, STAGE2 = "network.json", "stage2.json"
MODEL, HEADS = "model.safetensors", "heads.safetensors"  # their weights
FIRST_STAGE = "first_stage"  # in a record: the network whose first stage, weights too, these are


def key_of(what: Mapping[str, Any]) -> str:
    """Eight hexadecimal digits that identify plain values: how something was computed."""
    text = json.dumps(dict(what), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def places(digest: str, file: str) -> list[Path]:
    """Where ``file`` of a network is: published, then working."""
    folders = [paths.results(digest), paths.runs(digest)]
    if _fresh():
        folders = folders[1:]
    elif _trained_again(digest):
        folders = folders[:1]
    return [folder / file for folder in folders if (folder / file).exists()]


def _fresh() -> bool:
    return os.environ.get("LTQ_FRESH") == "1"


def _trained_again(digest: str) -> bool:
    """Whether the network in ``runs/`` is another one than the published one."""
    published, working = paths.results(digest) / NETWORK, paths.runs(digest) / NETWORK
    if _fresh() or not (published.exists() and working.exists()):
        return False
    return published.read_bytes() != working.read_bytes()


def find_record(digest: str, file: str = NETWORK) -> Record | None:
    """A record of a network, verified; None where it is not known.

    Raises:
        InputError: it is damaged.
    """
    for path in places(digest, file):
        return dict(_read_record(path, path.stat().st_mtime_ns))
    return None


@functools.lru_cache(maxsize=256)
def _read_record(path: Path, changed: int) -> Record:
    verify_published(path)
    return read_record(path)


def keep_record(digest: str, record: Record, file: str = NETWORK) -> Record:
    """Write a record of a network into ``runs/``, whole or not at all."""
    return write_record(paths.runs(digest) / file, {**record, "digest": digest})


def recall(digest: str, name: str, key: str) -> xr.Dataset | None:
    """What was computed under ``name`` and ``key``, or None.

    Raises:
        InputError: it is damaged.
    """
    return next(recall_each(digest, name, key), None)


def recall_each(digest: str, name: str, key: str) -> Iterator[xr.Dataset]:
    """Both copies of what was computed, the published one first; as :func:`recall`."""
    for path in places(digest, f"{name}-{key}{SUFFIX}"):
        yield _read_dataset(path, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _read_dataset(path: Path, changed: int) -> xr.Dataset:
    content = verify_published(path)
    return read_dataset(path) if content is None else decode(content)


def keep(digest: str, name: str, key: str, dataset: xr.Dataset) -> xr.Dataset:
    """Write ``dataset`` into ``runs/`` and return what a later reader sees."""
    path = paths.runs(digest) / f"{name}-{key}{SUFFIX}"
    write_dataset(path, dataset)
    return read_dataset(path)


def digests() -> list[str]:
    """Every network that is known, published or working."""
    folders = [paths.runs()] if _fresh() else [paths.results(), paths.runs()]
    found = {path.parent.name for folder in folders for path in folder.glob(f"*/{NETWORK}")}
    return sorted(found)


def weights(digest: str, name: str) -> Path:
    """Where to read a network's file of weights: the working copy, else the published one."""
    working, published = paths.runs(digest) / name, paths.checkpoints(digest) / name
    return published if published.exists() and not working.exists() else working


@contextlib.contextmanager
def lock(digest: str) -> Iterator[None]:
    """Only one process computes for a network at a time; a second waits, then finds the result.

    On a file system without locks a line says so, and two processes may compute the same.

    Raises:
        InputError: what is computed would be of other weights than what is published.
    """
    import fcntl

    if _trained_again(digest):
        raise InputError(
            f"runs/{digest} was trained again and is not the published network: set LTQ_FRESH=1 "
            "to use it, or delete it to use the published one"
        )

    folder = paths.runs(digest)
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("w")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:  # every file is whole all the same: work may be done twice
            print(f"ltq: no lock on {folder} ({error.strerror})", file=sys.stderr)
        yield


def registry(folder: Path) -> dict[str, set[str]]:
    """SHA-256 by file, relative to ``folder``, from its ``registry.txt``; empty without one.

    A file has two while it is being replaced.

    Raises:
        InputError: the registry is damaged.
    """
    path = folder / "registry.txt"
    return dict(_read_registry(path, path.stat().st_mtime_ns)) if path.exists() else {}


@functools.lru_cache(maxsize=8)
def _read_registry(path: Path, changed: int) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    # a byte that is no UTF-8 is not in the line of any file
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        name, _, told = line.rpartition(" ")
        if not name or not told.startswith("sha256:"):
            raise InputError(f"{path} has a line that is not `FILE sha256:DIGEST`: restore it")
        found.setdefault(name, set()).add(told.removeprefix("sha256:"))
    return found


def verify_published(path: Path) -> bytes | None:
    """The content of a published file, if it is the one in the registry; None of a working file.

    Raises:
        InputError: it is altered or not registered.
    """
    folder = paths.results()
    if folder not in path.parents:
        return None
    name = path.relative_to(folder).as_posix()
    for _ in range(2):  # publishing may come between reading the file and the registry
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() in registry(folder).get(name, ()):
            return content
    raise InputError(f"{path} is not the published file (its SHA-256 differs): restore it")
