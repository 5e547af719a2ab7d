"""What the store holds: networks, the files of each, and where each file comes from."""

from typing import Any

import xarray as xr

from ltqlib import paths
from ltqlib.evidence import store

ORIGIN = ("seconds", "created", "commit", "dirty")
HOW = ("function", "classifier", "method", "images")
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
            found.append({"digest": digest, "config": record["config"], "files": files(digest)})
    return found


def files(digest: str) -> dict[str, str]:
    """``{file: "published" or "working"}`` of a network: of two copies the one that is read."""
    found = {}
    folders = (paths.runs(digest), paths.results(digest))
    for name in sorted({path.name for folder in folders for path in folder.glob("*")}):
        if name in STAGES or name.endswith(".nc"):
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
            what, origin = STAGES[name], record["provenance"]
        else:
            function, _, key = name.removesuffix(".nc").rpartition("-")
            found = store.recall(digest, function, key)
            assert found is not None
            what, origin = _what(found), found.attrs
        kept = {key: origin.get(key) for key in ORIGIN}
        kept["dirty"] = kept["dirty"] in (True, "true")  # an attribute of NetCDF is text
        told.append({"file": name, "place": place, "what": what, **kept})
    return sorted(told, key=lambda file: file["created"])


def _what(found: xr.Dataset) -> str:
    """What was evaluated: the plain values that say how, and how many configurations."""
    attrs = found.attrs
    words = [
        str(attrs[key]) for key in ("function", "classifier", "method", "images") if key in attrs
    ]
    if count := found.sizes.get("configuration"):
        words.append(f"{count} configuration{'s' * (count != 1)}")
    return ", ".join(words)
