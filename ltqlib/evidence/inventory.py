"""What the store holds: networks, the files of each, and where each file comes from."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from ltqlib import paths
from ltqlib.config import from_dict
from ltqlib.errors import InputError
from ltqlib.evidence import store
from ltqlib.evidence.arrays import SUFFIX

ORIGIN = ("seconds", "created", "commit", "dirty")
STAGES = {store.NETWORK: "stage 1", store.STAGE2: "stage 2"}


def networks() -> list[dict[str, Any]]:
    """``digest``, ``config`` and ``files`` of every network.

    Raises:
        InputError: a record is damaged.
    """
    found = []
    for digest in store.digests():
        record = store.find_record(digest)
        if record is not None:
            found.append(
                {"digest": digest, "config": _config(digest, record), "files": files(digest)}
            )
    return found


def _config(digest: str, record: dict[str, Any]) -> dict[str, Any]:
    """The configuration in a record, which must be that of the folder it lies in."""
    config = from_dict(record.get("config", {}))
    if config.digest() != digest:
        raise InputError(f"network.json of {digest} is the record of another network: delete it")
    return config.public()


def files(digest: str) -> dict[str, str]:
    """``{file: "published" or "working"}`` of a network: of two copies the one that is read."""
    found = {}
    folders = (paths.runs(digest), paths.results(digest))
    for name in sorted({path.name for folder in folders for path in folder.glob("*")}):
        if name in STAGES or name.endswith(SUFFIX):
            for path in store.places(digest, name)[:1]:
                found[name] = "published" if paths.results() in path.parents else "working"
    return found


def origins(digest: str) -> list[dict[str, Any]]:
    """Of each file of a network what it is, the seconds it took, when, and by which commit.

    Raises:
        InputError: a file is damaged.
    """
    told = []
    for name, place in files(digest).items():
        if name in STAGES:
            record = store.find_record(digest, name) or {}
            if name == store.NETWORK:
                _config(digest, record)
            of = f" of {record[store.FIRST_STAGE]}" if store.FIRST_STAGE in record else ""
            what, origin = STAGES[name] + of, record.get("provenance")
        else:
            function, _, key = name.removesuffix(SUFFIX).rpartition("-")
            found = store.recall(digest, function, key)
            assert found is not None
            what, origin = _what(found), found.attrs
        kept = _origin(f"{name} of {digest}", origin)
        kept["dirty"] = kept["dirty"] in (True, "true")  # an attribute of NetCDF is text
        told.append({"file": name, "place": place, "what": what, **kept})
    return sorted(told, key=lambda file: str(file["created"]))


def _origin(file: str, told: Any) -> dict[str, Any]:
    """When a file was made, by which commit and how long it took, as far as it says so."""
    kept = {key: told.get(key) for key in ORIGIN} if isinstance(told, Mapping) else {}
    words = [str(kept.get(key)) for key in ("created", "commit")]
    timed = isinstance(kept.get("seconds"), int | float | np.number)
    if not timed or not all(word.isprintable() and len(word) < 100 for word in words):
        raise InputError(f"{file} has no provenance as this library writes it: delete it")
    return kept


def _what(found: xr.Dataset) -> str:
    """What was evaluated: the plain values that say how, and how many configurations."""
    attrs = found.attrs
    words = [
        str(attrs[key]) for key in ("function", "classifier", "method", "images") if key in attrs
    ]
    if count := found.sizes.get("configuration"):
        words.append(f"{count} configuration{'s' * (count != 1)}")
    return "".join(c if c.isprintable() else "?" for c in ", ".join(words))
