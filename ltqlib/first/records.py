"""Records: what a step of a run found out, as checksummed JSON that is whole or not there.

A record is one JSON object, ``<folder of the run>/<step>.json``::

    {"schema", "step", "digest", "config", "options", "provenance", "parents", "payload",
     "checksum"}

``checksum`` is the SHA-256 of the canonical JSON of everything else. Arrays of class labels are
stored as text (see :func:`pack`): zlib, then base64, of one byte an item, so that any language can
read them in one line.
"""

import base64
import contextlib
import fcntl
import hashlib
import json
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ltqlib.first import paths
from ltqlib.first.errors import InputError, disk_errors
from ltqlib.first.files import write_whole

SCHEMA = 1
HALVES = ("select", "report")  # of the test images: the keys of what is kept by half
Record = dict[str, Any]


def pack(values: npt.ArrayLike) -> str:
    """Small unsigned integers (0..255) as ``base64(zlib(bytes))`` text.

    Raises:
        ValueError: a value does not fit a byte.
    """
    array = np.asarray(values)
    whole = array.dtype.kind in "biu"
    if array.size and not (whole and array.min() >= 0 and array.max() <= 255):
        raise ValueError("pack takes integers in 0..255")
    return base64.b64encode(zlib.compress(array.astype(np.uint8).tobytes(), 9)).decode()


def unpack(text: str) -> npt.NDArray[np.uint8]:
    """The array of :func:`pack`."""
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype=np.uint8)


def pack_array(values: npt.ArrayLike, dtype: str) -> str:
    """Numbers as ``base64(zlib(bytes))`` text, all first bytes before all second ones, and so on.

    Bytes of one kind are more alike than their neighbours in a number, and pack smaller.

    Args:
        dtype: little-endian, as NumPy names it, such as ``<u2`` or ``<f2``.

    Raises:
        ValueError: a value does not fit: an integer outside the range, or a number made infinite.
    """
    array = np.asarray(values)
    with np.errstate(over="ignore", invalid="ignore"):
        cast = array.astype(dtype)
    kept = np.isfinite(cast) if cast.dtype.kind == "f" else cast == array
    if not np.all(kept):
        raise ValueError(f"pack_array: a value does not fit {dtype}")
    return pack(cast.reshape(-1, 1).view(np.uint8).T)


def unpack_array(text: str, dtype: str) -> npt.NDArray:
    """The array of :func:`pack_array`, flat."""
    planes = unpack(text).reshape(np.dtype(dtype).itemsize, -1)
    return np.ascontiguousarray(planes.T).view(dtype)[:, 0]


def pack_indices(values: npt.ArrayLike) -> str:
    """Sorted image indices as ``base64(zlib(uint32 little-endian differences))``.

    Raises:
        ValueError: the indices are negative or not sorted.
    """
    steps = np.diff(np.asarray(values, dtype=np.int64), prepend=0)
    if steps.size and steps.min() < 0:
        raise ValueError("pack_indices takes sorted indices from 0 on")
    return base64.b64encode(zlib.compress(steps.astype("<u4").tobytes(), 9)).decode()


def unpack_indices(text: str) -> npt.NDArray[np.int64]:
    """The sorted indices of :func:`pack_indices`."""
    steps = np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype="<u4")
    return np.cumsum(steps.astype(np.int64))


def pack_numbers(values: npt.ArrayLike, digits: int = 5) -> dict[str, Any]:
    """Numbers of any shape as text, rounded to ``digits`` digits: ``{"shape", "values"}``.

    The values are in row-major order with a space between them; infinities and NaN are words.
    """
    array = np.asarray(values, dtype=np.float64)
    words = (format(value, f".{digits}g") for value in array.ravel().tolist())
    return {"shape": list(array.shape), "values": " ".join(words)}


def unpack_numbers(packed: dict[str, Any]) -> npt.NDArray[np.float64]:
    """The array of :func:`pack_numbers`."""
    return np.array([float(word) for word in packed["values"].split()]).reshape(packed["shape"])


def checksum(record: Record) -> str:
    """SHA-256 of the canonical JSON of ``record`` without its own checksum."""
    body = {key: value for key, value in record.items() if key != "checksum"}
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def write(path: Path, record: Record) -> Record:
    """Add the checksum and write ``record``, atomically; returns what was written.

    Raises:
        InputError: the disk is full or cannot be written; nothing is left behind.
    """
    # through JSON and back: what is returned and hashed is what a later reader sees, to the type
    record = json.loads(json.dumps({"schema": SCHEMA, **record}, allow_nan=False))
    record["checksum"] = checksum(record)
    write_whole(path, (json.dumps(record, indent=1) + "\n").encode())
    return record


def read(path: Path) -> Record:
    """Read and verify a record.

    Raises:
        InputError: missing, truncated, altered, or of another schema.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"record {path} does not exist: compute it with `ltq run`") from error
    except OSError as error:
        raise InputError(f"record {path} cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:  # ValueError: bad bytes as well
        raise InputError(f"record {path} is truncated or not JSON: delete it, run again") from error
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        raise InputError(f"record {path} is not a record of schema {SCHEMA}: delete it, run again")
    if record.get("checksum") != _checksum_or_none(record):
        raise InputError(f"record {path} is altered (checksum differs): delete it, run again")
    return record


def _checksum_or_none(record: Record) -> str | None:
    try:
        return checksum(record)
    except ValueError:  # damage made a number infinite
        return None


def find(digest: str, step: str) -> Path | None:
    """Where the record of ``step`` is: the first of :func:`places`, or None."""
    return next(iter(places(digest, step)), None)


def places(digest: str, step: str) -> list[Path]:
    """Where records of ``step`` are: published in results/, then cached in runs/.

    ``LTQ_FRESH=1`` leaves the published records out, so that everything is computed again.
    """
    paths_of_step = [paths.runs(digest) / f"{step}.json"]
    if os.environ.get("LTQ_FRESH") != "1":
        paths_of_step.insert(0, paths.results(digest) / f"{step}.json")
    return [path for path in paths_of_step if path.exists()]


def digests(folder: Path) -> list[str]:
    """Digests of the runs below ``folder`` (results/ or runs/) that have a data record."""
    return sorted(path.parent.name for path in folder.glob("*/data.json"))


@contextlib.contextmanager
def lock(digest: str) -> Iterator[None]:
    """Only one process computes a run at a time; a second waits and then finds the records."""
    folder = paths.runs(digest)
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("w")
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
