"""Rarity told apart from class identity: one imbalance factor, several class orders.

In one class order the rare classes are always the same classes, and what is due to rarity cannot
be told from what is due to being a cat. With several orders every class is rare in some runs and
frequent in others::

    value(run, class) = slope * log10(count) + class effect + error

The two seeds of an order share more than the model knows: how hard a class is at a count depends
on which other classes are frequent, and that is the same for both. Standard errors are therefore
clustered by order: CR2 of Bell and McCaffrey (2002), with the Satterthwaite degrees of freedom of
each contrast (Pustejovsky and Tipton, 2018). With 4 orders x 2 seeds its 95 % intervals cover 93 %
to 97 % in simulation (tests/statistics/test_class_identity.py); clusters of runs cover less than
90 % where orders differ as much as seeds, and the simpler correction by order (CR1, t with G - 1)
92 % to 93 %.
Values are in points, counts are training images.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from scipy import stats

from ltqlib.errors import InputError
from ltqlib.statistics.estimate import STATISTICS, Estimates

Floats = npt.NDArray[np.float64]
PARTS = ("per tenfold images", "rarity", "class", "head less tail")
LEVEL = 0.95


class Effect(NamedTuple):
    """An estimate, its interval, two-sided p-value against 0, and degrees of freedom of t."""

    value: float
    low: float
    high: float
    p_value: float
    df: float


@dataclass(frozen=True)
class IdentityFit:
    """Least squares with class effects; made by :func:`fit_identity`.

    ``frame`` has a row for each run and class: run, order, class, count, value.
    """

    frame: pd.DataFrame

    @cached_property
    def classes(self) -> list:
        """In sorted order."""
        return sorted(self.frame["class"].unique())

    @cached_property
    def _design(self) -> Floats:
        """Columns: log10(count), and a dummy a class."""
        codes = pd.factorize(self.frame["class"], sort=True)[0]
        return np.hstack([log_count(self.frame)[:, None], np.eye(codes.max() + 1)[codes]])

    @cached_property
    def _solver(self) -> Floats:
        """Coefficients by observations: what the values are multiplied with."""
        return np.asarray(np.linalg.pinv(self._design), float)

    @cached_property
    def _adjusted(self) -> list[tuple[npt.NDArray[np.intp], Floats]]:
        """Members of each cluster, and what turns all values into its CR2 residuals."""
        keep = np.eye(len(self.frame)) - self._design @ self._solver
        codes = pd.factorize(self.frame["order"])[0]
        groups = [np.flatnonzero(codes == code) for code in np.unique(codes)]
        return [(g, _inverse_root(keep[np.ix_(g, g)]) @ keep[g]) for g in groups]

    def contrast(self, log10_count: float, class_weights: Mapping[Any, float]) -> Effect:
        """``log10_count * slope + sum of weight * class effect``, points.

        Args:
            log10_count: the weight of the slope.
            class_weights: the weight of each class named; they must sum to 0, for only
                differences between class effects are defined.
        """
        if unknown := sorted(map(str, set(class_weights) - set(self.classes))):
            known = ", ".join(map(str, self.classes))
            raise InputError(f"class {unknown[0]} is not in the data: {known}")
        if abs(sum(class_weights.values())) > 1e-9:
            raise InputError("the weights of the class effects must sum to 0")
        weights = np.array([log10_count, *(class_weights.get(c, 0.0) for c in self.classes)])
        row, values = weights @ self._solver, self.frame["value"].to_numpy(float)
        # One row a cluster: the share of the estimate's error that the cluster shows.
        shown = np.stack([row[members] @ residual for members, residual in self._adjusted])
        spread = shown @ shown.T
        df = np.trace(spread) ** 2 / (spread**2).sum() if spread.any() else np.inf
        value, error = float(row @ values), float(np.sqrt(((shown @ values) ** 2).sum()))
        if error == 0:
            return Effect(value, value, value, float(value == 0), float(df))
        half = float(stats.t.isf((1 - LEVEL) / 2, df)) * error
        p_value = 2 * float(stats.t.sf(abs(value) / error, df))
        return Effect(value, value - half, value + half, p_value, float(df))


def fit_identity(values: xr.DataArray) -> IdentityFit:
    """Fit ``value ~ log10(count) + class`` by least squares.

    Args:
        values: points of each class, dimensions (order, seed, class), with the coordinate
            ``count`` (training images) on order and class; NaN where a seed was not trained.
    """
    if set(values.dims) != {"order", "seed", "class"} or "count" not in values.coords:
        raise InputError(
            "values need the dimensions order, seed and class, and the coordinate count: they have "
            + ", ".join([*map(str, values.dims), *map(str, values.coords)])
        )
    frame = values.rename("value").to_dataframe().reset_index()
    frame = frame[frame["value"].notna()]
    rows = frame.assign(run=frame["order"].astype(str) + "/" + frame["seed"].astype(str))
    rows = rows.sort_values(["run", "class"], ignore_index=True)
    if not (np.isfinite(rows["value"]).all() and (rows["count"] >= 1).all()):
        raise InputError("every value must be finite and every count at least 1")
    if len(rows) != rows["run"].nunique() * rows["class"].nunique():
        raise InputError("every run needs every class")
    if (rows.groupby("class")["count"].nunique() == 1).all():
        raise InputError(
            "rarity and identity cannot be told apart: add runs with another class order"
        )
    return IdentityFit(rows)


def rarity_and_class(
    values: xr.DataArray, groups: Mapping[str, Sequence[int]], order: str = "label"
) -> Estimates:
    """Head less tail of one class order, split into what goes with the count and with the class.

    Args:
        values: points, dimensions (order, seed, class) as :func:`fit_identity` takes them; every
            other dimension becomes rows.
        groups: labels of ``head`` and ``tail`` in that order.
        order: the class order that is split.

    Returns:
        index: the other dimensions, then the part as ``group``: the slope (change with ten times
        as many training images), ``rarity`` (the slope times the difference of the mean logarithms
        of the counts), ``class`` (the difference of the class effects), and their sum.

    Raises:
        InputError: as :func:`fit_identity`, the order is unknown, or a group is empty.
    """
    others = [dim for dim in values.dims if dim not in ("order", "seed", "class")]
    rows = {}
    for at in np.ndindex(*(values.sizes[dim] for dim in others)):
        chosen = values.isel(dict(zip(others, at, strict=True)))
        fit = fit_identity(chosen.transpose("order", "seed", "class").drop_vars(others))
        key = tuple(chosen[dim].item() for dim in others)
        for part, found in zip(PARTS, _parts(fit, order, groups), strict=True):
            rows[(*key, part)] = (*found[:4], np.nan, fit.frame["run"].nunique())
    table = Estimates.from_dict(rows, orient="index", columns=list(STATISTICS))
    table.index = pd.MultiIndex.from_tuples(rows, names=[*others, "group"])
    table.attrs = {"level": LEVEL, "over": f"{fit.frame['order'].nunique()} class orders"}
    return table


def _parts(fit: IdentityFit, order: str, groups: Mapping[str, Sequence[int]]) -> list[Effect]:
    """Of PARTS, for one fit."""
    rows, head, tail = fit.frame[fit.frame["order"] == order], groups["head"], groups["tail"]
    if rows.empty:
        known = ", ".join(map(str, sorted(set(fit.frame["order"]))))
        raise InputError(f"order {order} is not in the data: {known}")
    if not len(head) or not len(tail):
        raise InputError("head and tail need at least one class each")
    weights = dict.fromkeys(head, 1 / len(head)) | dict.fromkeys(tail, -1 / len(tail))
    factors = rows["class"].map(weights).fillna(0).to_numpy(float) / rows["run"].nunique()
    step = float(factors @ log_count(rows))
    return [fit.contrast(*two) for two in ((1.0, {}), (step, {}), (0.0, weights), (step, weights))]


def log_count(frame: pd.DataFrame) -> Floats:
    """Logarithm to base 10 of the training images of each row's class, (N,)."""
    return np.log10(frame["count"].to_numpy(float))


def _inverse_root(matrix: Floats) -> Floats:
    """Symmetric inverse square root, generalized: directions without variance stay at 0."""
    sizes, vectors = np.linalg.eigh(matrix)
    kept = sizes > 1e-9
    return (vectors[:, kept] * sizes[kept] ** -0.5) @ vectors[:, kept].T
