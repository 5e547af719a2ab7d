"""Functions that remember: same input, same answer, read where it is known, else computed.

The first argument of a remembered function says of which network (it has a ``digest``); every
other argument says how, in plain values, and becomes part of the key.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import xarray as xr

from ltqlib.errors import InputError
from ltqlib.evidence import store
from ltqlib.evidence.provenance import Stopwatch


class Subject(Protocol):
    """What a remembered function is about."""

    @property
    def digest(self) -> str:
        """Of the network's configuration."""


Row = tuple[int, ...]


def remember(function: Callable[..., xr.Dataset]) -> Callable[..., xr.Dataset]:
    """Keep what ``function(subject, **how)`` returns; ``how`` are plain values, by keyword."""
    name = function.__name__.replace("_", "-").strip("-")

    @functools.wraps(function)
    def remembering(subject: Subject, **how: Any) -> xr.Dataset:
        key = store.key_of(how)
        if (known := store.recall(subject.digest, name, key)) is not None:
            return known
        with store.lock(subject.digest):
            if (known := store.recall(subject.digest, name, key)) is not None:
                return known
            with Stopwatch() as watch:
                computed = function(subject, **how)
            return store.keep(subject.digest, name, key, _told(computed, name, how, watch))

    return remembering


def remember_rows(function: Callable[..., xr.Dataset]) -> Callable[..., xr.Dataset]:
    """Keep what ``function(subject, rows, **how)`` returns, one row at a time.

    ``rows`` are widths, one number a layer; the dataset has them as ``widths`` (configuration,
    layer) and whatever was found along ``configuration``. Only rows that are not known are
    computed, all of them in one call, and added to the file.
    """
    name = function.__name__.replace("_", "-").strip("-")

    @functools.wraps(function)
    def remembering(subject: Subject, rows: Sequence[Row], **how: Any) -> xr.Dataset:
        key = store.key_of(how)
        known = _recall_rows(subject, name, key, rows)
        if _missing(known, rows):
            with store.lock(subject.digest):
                known = _recall_rows(subject, name, key, rows)
                if missing := _missing(known, rows):
                    with Stopwatch() as watch:
                        computed = function(subject, missing, **how)
                    together = computed if known is None else _joined(known, computed)
                    told = _told(together, name, how, watch)
                    known = store.keep(subject.digest, name, key, told)
        assert known is not None
        position = {row: number for number, row in enumerate(_rows_of(known))}
        return known.isel(configuration=[position[tuple(row)] for row in rows])

    return remembering


def _recall_rows(subject: Subject, name: str, key: str, rows: Sequence[Row]) -> xr.Dataset | None:
    """The published rows, and with them the working ones where the former do not suffice."""
    known = None
    for copy in store.recall_each(subject.digest, name, key):
        if known is None:
            known = copy
        elif more := _missing(known, _rows_of(copy)):
            position = {row: number for number, row in enumerate(_rows_of(copy))}
            known = _joined(known, copy.isel(configuration=[position[row] for row in more]))
        if not _missing(known, rows):
            break
    return known


def _rows_of(known: xr.Dataset) -> list[Row]:
    return [
        tuple(row) for row in known["widths"].transpose("configuration", "layer").values.tolist()
    ]


def _missing(known: xr.Dataset | None, rows: Sequence[Row]) -> list[Row]:
    there = set() if known is None else set(_rows_of(known))
    return [row for row in dict.fromkeys(map(tuple, rows)) if row not in there]


def _joined(known: xr.Dataset, computed: xr.Dataset) -> xr.Dataset:
    if not np.array_equal(known["label"], computed["label"]):
        raise InputError("the images are not those of the stored outcomes: bring them back")
    joined = xr.concat([known, computed], "configuration", data_vars="minimal", coords="minimal",
                       compat="override", join="override", combine_attrs="override")  # fmt: skip
    for variable in joined.variables:
        joined[variable].encoding = known[variable].encoding
    return joined


def _told(dataset: xr.Dataset, name: str, how: dict[str, Any], watch: Stopwatch) -> xr.Dataset:
    """With what was computed, how, by which code and machine, and how long it took."""
    return dataset.assign_attrs(function=name, **_flat(how), **_flat(watch.provenance()))


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    """Plain values as NetCDF attributes: text, numbers, or lists of them."""
    import json

    simple = (str, int, float)
    return {
        key: value
        if isinstance(value, simple) and not isinstance(value, bool)
        else json.dumps(value)
        for key, value in values.items()
    }
