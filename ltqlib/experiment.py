"""One run, step by step: data -> train -> decouple -> ptq -> sensitivity -> mpq.

:func:`get_or_run` is the one call that pages, the command line and Snakemake make. A record that
is published or cached is read (no torch is imported); one that is missing is computed, with the
steps before it.
"""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

from ltqlib import paths, records
from ltqlib.config import RunConfig
from ltqlib.errors import InputError
from ltqlib.provenance import provenance
from ltqlib.records import Record


@dataclasses.dataclass(frozen=True)
class Step:
    """A step, the steps it needs, and the options that its result depends on."""

    name: str
    needs: tuple[str, ...]
    options: dict[str, Any] = dataclasses.field(default_factory=dict)


STEPS = {
    step.name: step
    for step in (
        Step("data", ()),
        Step("train", ("data",)),
    )
}


def get_or_run(config: RunConfig, step: str, device: str = "auto") -> Record:
    """The record of ``step`` for ``config``: published, cached, or computed now.

    Raises:
        InputError: an unknown step, bad data, a damaged record, or a full disk.
    """
    if step not in STEPS:
        raise InputError(f"step {step!r} is unknown: use one of {', '.join(STEPS)}")
    if (record := _existing(config, step)) is not None:
        return record
    with records.lock(config.digest()):
        return _compute(config, step, device)


def _existing(config: RunConfig, step: str) -> Record | None:
    """A usable record, or None where there is none or its options are no longer the same."""
    path = records.find(config.digest(), step)
    if path is None:
        return None
    record = records.read(path)
    return record if record["options"] == STEPS[step].options else None


def _compute(config: RunConfig, step: str, device: str) -> Record:
    """Compute a step and those it needs; the caller holds the lock of the run."""
    if (record := _existing(config, step)) is not None:
        return record
    parents = {name: _compute(config, name, device) for name in STEPS[step].needs}
    from ltqlib import steps  # here torch is imported, and not before

    compute: Callable[..., dict[str, Any]] = getattr(steps, step)
    origin, started = provenance(), time.perf_counter()
    payload = compute(config, parents, device, **STEPS[step].options)
    seconds = round(time.perf_counter() - started, 1)
    return records.write(
        paths.runs(config.digest()) / f"{step}.json",
        {
            "step": step,
            "digest": config.digest(),
            "config": config.public(),
            "options": STEPS[step].options,
            "provenance": {**origin, **steps.device_words(device), "seconds": seconds},
            "parents": {name: parent["checksum"] for name, parent in parents.items()},
            "payload": payload,
        },
    )
