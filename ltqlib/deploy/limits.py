"""Which configuration to ship, and whether it keeps the limits: chosen and judged on two halves."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ltqlib.deploy import findings
from ltqlib.errors import InputError

TOLERATED = 1.0  # points of the tail that may be lost where no limit is given
GREEN, AMBER, RED = "kept", "unsure", "broken"


@dataclass(frozen=True)
class Limits:
    """Upper limits; None is no limit.

    Args:
        max_size: bytes of the model file.
        max_class_drop: points that any class may lose.
        max_tail_drop: points that the tail may lose.

    Raises:
        InputError: a limit that is no positive number.
    """

    max_size: float | None = None
    max_class_drop: float | None = None
    max_tail_drop: float | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and not (np.isfinite(value) and value >= 0):
                raise InputError(f"{name} is {value}: give a number of at least 0")


def recommend(outcomes: xr.Dataset, limits: Limits, half: str = "choose") -> tuple[str, bool]:
    """Configuration and whether it is repaired, chosen on one half of the images.

    Of what keeps all limits there, the tail's by a standard error (Breiman et al., 1984: the best
    of many noisy numbers looks better than it is): with ``max_size`` the one whose tail loses
    least, else the smallest. If nothing does, the one that loses least among the small enough.
    """
    table: Any = findings.candidates(outcomes, half)
    small = table["size"] <= (np.inf if limits.max_size is None else limits.max_size)
    most = TOLERATED if limits.max_tail_drop is None else limits.max_tail_drop
    error = ((table["high"] - table["low"]) / (2 * 1.96)).fillna(np.inf)
    kept = small & (table["lost"] + error <= most)
    if limits.max_class_drop is not None:
        lights = [_worst(outcomes, key, half, limits)["light"] for key in table.index]
        kept &= np.array(lights) != RED
    order = ["lost", "size"] if limits.max_size is not None or not kept.any() else ["size", "lost"]
    among = table[kept] if kept.any() else table[small] if small.any() else table
    if not small.any():
        order = ["size", "lost"]
    name, repaired = among.sort_values(order, kind="stable").index[0]
    return str(name), bool(repaired)


def least_lost(outcomes: xr.Dataset, half: str = "choose") -> str:
    """The method that loses least of the tail at the smallest width, chosen on one half."""
    table = findings.candidates(outcomes, half).xs(False, level="repaired")
    uniform = table[table["kind"].isin(("uniform", "method"))]
    lowest = uniform[uniform["mean_bits"] == uniform["mean_bits"].min()]
    return str(lowest["lost"].idxmin())


def judge(
    outcomes: xr.Dataset, limits: Limits, chosen: tuple[str, bool], half: str = "judge"
) -> pd.DataFrame:
    """One row a limit: ``value``, ``low``, ``high``, ``most`` and ``light``.

    Size and tail: broken if the value is above the limit, unsure if the limit is below it but
    inside the interval. Classes: broken if the interval of some class, at a level that is
    corrected for all of them (Bonferroni), lies above the limit; unsure if a value does: the
    largest of many noisy numbers lies above most limits.
    """
    rows: dict[str, dict[str, Any]] = {}
    row: Any = findings.candidates(outcomes, half).loc[chosen]
    if limits.max_size is not None:
        over = RED if row["size"] > limits.max_size else GREEN
        size = {"value": row["size"], "low": row["size"], "high": row["size"]}
        rows["model file, bytes"] = {**size, "most": limits.max_size, "light": over}
    most = TOLERATED if limits.max_tail_drop is None else limits.max_tail_drop
    light = RED if row["lost"] > most else GREEN if row["high"] <= most else AMBER
    three = {"value": row["lost"], "low": row["low"], "high": row["high"]}
    rows["tail, points lost"] = {**three, "most": most, "light": light}
    if limits.max_class_drop is not None:
        rows["any class, points lost"] = _worst(outcomes, chosen, half, limits)
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("limit")


def given(limits: Limits) -> dict[str, bool]:
    """Which rows of :func:`judge` are limits of the reader's."""
    return {
        "model file, bytes": limits.max_size is not None,
        "tail, points lost": limits.max_tail_drop is not None,
        "any class, points lost": limits.max_class_drop is not None,
    }


def _worst(
    outcomes: xr.Dataset, chosen: tuple[str, bool], half: str, limits: Limits
) -> dict[str, Any]:
    """The class that loses most, and whether any class is above the limit beyond chance."""
    images, most = findings.half_of(outcomes, half), float(limits.max_class_drop or 0)
    name, repaired = chosen
    if repaired:
        images = images.assign(predicted=images["matched"])  # of float they are the same
    classes = len(np.unique(images["label"].values))
    table: Any = findings.by_class(images, name, level=1 - 2 * findings.ALPHA / classes)
    worst = table.loc[table["lost"].idxmax()]
    over = (table["low"] > most).any()
    light = RED if over else AMBER if worst["lost"] > most else GREEN
    ends = {"low": float(worst["low"]), "high": float(worst["high"])}
    return {
        "value": float(worst["lost"]),
        **ends,
        "most": most,
        "light": light,
        "class": worst.name,
    }


def of_widths(outcomes: xr.Dataset, limits: Limits) -> pd.DataFrame:
    """One row a uniform width, all test images: ``value`` (tail), ``low``, ``high``, ``hurt``
    (classes that are significantly worse) and ``light``.

    Broken: the tail loses more than is tolerated and not by chance, or some class is hurt; kept:
    neither, and the interval of the tail lies within what is tolerated; else unsure.
    """
    tail: Any = findings.of_tail(outcomes)
    rows: dict[str, dict[str, Any]] = {}
    most = TOLERATED if limits.max_tail_drop is None else limits.max_tail_drop
    for name in outcomes["configuration"].values[outcomes["kind"] == "uniform"].tolist():
        row, hurt = tail.loc[name], int(findings.by_class(outcomes, name)["hurt"].sum())
        bad = hurt > 0 or (row["value"] > most and row["low"] > 0)
        light = RED if bad else GREEN if row["high"] <= most else AMBER
        three = {"value": row["value"], "low": row["low"], "high": row["high"]}
        rows[name] = {**three, "hurt": hurt, "light": light}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("configuration")
