"""One run, step by step: data -> train -> decouple -> ptq -> sensitivity, importance -> mpq,
allocate.

:func:`get_or_run` is the one call that pages, the command line and Snakemake make. A record that
is published or cached is read (no torch is imported); one that is missing is computed, with the
steps before it.
"""

import dataclasses
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

from ltqlib.first import paths, records
from ltqlib.first.config import RunConfig, from_dict, from_profile
from ltqlib.first.errors import InputError
from ltqlib.first.provenance import provenance
from ltqlib.first.records import Record


@dataclasses.dataclass(frozen=True)
class Step:
    """A step, the steps it needs, and the options that its result depends on.

    A step ``aside`` takes long, for one page: it is computed where that page looks or where it is
    asked for, not on the way to another.
    """

    name: str
    needs: tuple[str, ...]
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    aside: bool = False


STEPS = {
    step.name: step
    for step in (
        Step("data", ()),
        Step("train", ("data",)),
        Step("decouple", ("data", "train")),
        Step(
            "ptq",
            ("data", "train", "decouple"),
            {
                "models": ["baseline", "crt"],
                "schemes": ["w-tensor"],
                "bits": [8, 6, 5, 4, 3, 2],
                "calibration_images": 512,
            },
        ),
        Step(
            "sensitivity",
            ("data", "train", "decouple"),
            {"model": "crt", "scheme": "w-tensor", "bits": [8, 6, 5, 4, 3, 2]},
        ),
        Step(
            "mpq",
            ("data", "train", "decouple", "sensitivity"),
            {"high": 6, "low": 4, "budgets": [4.5, 5.0, 5.5], "random": 20, "random_budget": 5.0},
        ),
        # Counts that fit the metrics into about two minutes of one core for VGG16 at a quarter of
        # the width. They were fixed by measured time and by the standard error of the traces alone.
        # The eigenvalue is one of all classes together: by class it would take ten times as long.
        Step(
            "importance",
            ("data", "train", "decouple"),
            {
                "model": "crt",
                "scheme": "w-tensor",
                "bits": [8, 6, 5, 4, 3, 2],
                # a class, of each half
                "images": {"outputs": 100, "fisher": 50, "curvature": 20, "eigenvalue": 4},
                "probes": 16,
                "iterations": 6,
                "learning": {"steps": 20, "batch": 25, "learning_rate": 0.05},
            },
        ),
        Step(
            "allocate",
            ("data", "train", "decouple", "sensitivity", "importance"),
            {
                "methods": {  # solver, score, objective
                    "ranking-norm": ["ranking", "drop", "norm"],
                    "ranking-tail": ["ranking", "drop", "tail"],
                    "greedy-mean": ["greedy", "drop", "mean"],
                    "greedy-tail": ["greedy", "drop", "tail"],
                    "mean": ["exact", "drop", "mean"],
                    "tail": ["exact", "drop", "tail"],
                    "worst": ["exact", "drop", "worst + 0.01*mean"],
                    "cvar": ["exact", "drop", "cvar:0.3 + 0.01*mean"],
                    "constrained": ["exact", "drop", "constrained"],
                    "loss-mean": ["exact", "loss", "mean"],
                    "loss-tail": ["exact", "loss", "tail"],
                    "loss-worst": ["exact", "loss", "worst + 0.01*mean"],
                    "kl-mean": ["exact", "kl", "mean"],
                    "kl-worst": ["exact", "kl", "worst + 0.01*mean"],
                    "hawq-mean": ["exact", "hawq", "mean"],
                    "hawq-tail": ["exact", "hawq", "tail"],
                    "fit-mean": ["exact", "fit", "mean"],
                    "fit-tail": ["exact", "fit", "tail"],
                },
                "slack": 0.5,
                "high": 6,
                "low": 4,
                "budgets": {  # limits, as the width of the uniform network that costs as much
                    "4.0": {"size": 4.0},
                    "4.5": {"size": 4.5},
                    "5.0": {"size": 5.0},
                    "bops 4.5": {"bops": 4.5},
                    "both 4.0": {"size": 4.0, "bops": 4.0},
                    "both 4.5": {"size": 4.5, "bops": 4.5},
                },
                "null": 10,
                "null_budgets": ["4.5", "bops 4.5"],
            },
        ),
        Step(  # half an hour
            "bench",
            ("data", "train", "decouple"),
            {
                "model": "crt",
                "scheme": "w-tensor",
                "image_step": 1,
                "check": [30, 3000],
                "plan": {
                    "widths": [3, 4, 5, 6, 8],
                    "stages": [2, 4, 7, 10, 13],
                    "cuts": [7, 10],
                    "prefixes": 250,
                    "pairs": 30,
                    "branches": [4, 5],
                    "low_high": [4, 6],
                    "means": [3.5, 6.5],
                    "spread": 0.8,
                    "broken": 0.04,
                    "seed": 0,
                },
            },
            aside=True,
        ),
        Step(  # CLADO's measurement; at 8 and 6 bits a layer alone costs nothing that could add up
            "pairs",
            ("data", "train", "decouple"),
            {"model": "crt", "scheme": "w-tensor", "bits": [5, 4, 3], "loss_images": 100},
            aside=True,
        ),
        Step(
            "quadratic",
            ("data", "train", "decouple", "pairs"),
            {"free": 6, "objectives": ["mean", "tail"], "budgets": [4.0, 4.5]},
            aside=True,
        ),
        Step(
            "schemes",
            ("data", "train", "decouple"),
            {
                "models": ["baseline", "crt"],
                "schemes": ["w-channel", "wa-tensor", "wa-percentile", "wa-mse"],
                "bits": [8, 6, 5, 4, 3, 2],
                "calibration_images": 512,
            },
            aside=True,
        ),
    )
}


def until(last: str) -> list[str]:
    """The steps of a run up to ``last``, in order: those not aside, and whatever it needs.

    Raises:
        InputError: an unknown step.
    """
    wanted = {last, *_ancestors(last)}
    before = list(STEPS)[: list(STEPS).index(last) + 1]
    return [name for name in before if name in wanted or not STEPS[name].aside]


def _ancestors(name: str) -> set[str]:
    """All steps whose records a step reads, directly or not."""
    needs = _step(name).needs
    return set(needs).union(*map(_ancestors, needs))


def _step(name: str) -> Step:
    if name not in STEPS:
        raise InputError(f"step {name!r} is unknown: use one of {', '.join(STEPS)}")
    return STEPS[name]


def find_config(
    profile: str, imbalance_factor: float, seed: int = 0, data: str | None = None, **changes: Any
) -> RunConfig:
    """The configuration that a page means.

    The data source is the one asked for (``data``, or ``$LTQ_DATA``); else that of a published or
    cached run of the same configuration, so that evidence made from another copy of the images
    is found and named; else the profile's.

    Raises:
        InputError: an unknown profile, field or source.
    """
    asked = data or os.environ.get("LTQ_DATA")
    changes |= {"imbalance_factor": imbalance_factor, "seed": seed}
    if asked:
        return from_profile(profile, data=asked, **changes)
    config = from_profile(profile, **changes)
    if records.find(config.digest(), "data"):
        return config
    for same in ({"data": "cifar10"}, {"data": "cifar10", "seed": 0}):  # else of another seed
        for _, other in _known():
            if _name_of(other, **same) == _name_of(config, **same):
                return dataclasses.replace(config, data=_local(other.data))
    return config


def trained_seeds(config: RunConfig) -> list[int]:
    """Seeds, ascending, of the published and cached runs that differ from ``config`` in that alone.

    A run counts once its float models are trained and tested (step ``decouple``).
    """
    wanted = _name_of(config, seed=0)
    seeds = {
        other.seed
        for digest, other in _known()
        if _name_of(other, seed=0) == wanted and records.find(digest, "decouple")
    }
    return sorted(seeds)


def _known() -> Iterator[tuple[str, RunConfig]]:
    """Digest and configuration of every published and cached run."""
    for folder in (paths.results(), paths.runs()):
        for digest in records.digests(folder):
            # through from_dict: an older record lacks the fields that came after it
            yield digest, from_dict(records.read(folder / digest / "data.json")["config"])


def _name_of(config: RunConfig, **changes: Any) -> str:
    """The digest of a configuration with some fields changed: equal where nothing else differs."""
    return dataclasses.replace(config, **changes).digest()


def _local(source: str) -> str:
    """A published folder source names only the folder: look for it in data/."""
    name = source.removeprefix("folder:")
    return source if name == source else f"folder:{paths.data(name)}"


def get_or_run(config: RunConfig, step: str, device: str = "auto") -> Record:
    """The record of ``step`` for ``config``: published, cached, or computed now.

    Raises:
        InputError: an unknown step, bad data, a damaged record, or a full disk.
    """
    _step(step)
    if (record := existing(config, step)) is not None:
        return record
    with records.lock(config.digest()):
        return _compute(config, step, device)


def existing(config: RunConfig, step: str) -> Record | None:
    """A usable record, or None where there is none or its options are no longer the same."""
    for path in records.places(config.digest(), step):  # what is published can be outdated
        record = records.read(path)
        if record["options"] == STEPS[step].options:
            return record
    return None


def _compute(config: RunConfig, step: str, device: str) -> Record:
    """Compute a step and those it needs; the caller holds the lock of the run."""
    if (record := existing(config, step)) is not None:
        return record
    parents = {name: _compute(config, name, device) for name in STEPS[step].needs}
    from ltqlib.first import steps  # here torch is imported, and not before

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
