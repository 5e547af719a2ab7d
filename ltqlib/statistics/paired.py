"""Two models on the same images, several tests at once, and statistics with seeds alone."""

from collections.abc import Hashable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy import stats

from ltqlib.errors import InputError
from ltqlib.statistics.estimate import Estimates, class_names, table_of
from ltqlib.statistics.intervals import Interval

Floats = npt.NDArray[np.float64]
LEVEL = 0.95


class McNemar(NamedTuple):
    """Images that one model alone has right, and the exact p-value; arrays of one shape."""

    first_only: npt.NDArray[np.int64]
    second_only: npt.NDArray[np.int64]
    p_value: Floats


def mcnemar(first: npt.ArrayLike, second: npt.ArrayLike) -> McNemar:
    """Exact test of "both models are right equally often" on the same images (McNemar, 1947).

    It knows of images only: with several seeds use :func:`ltqlib.statistics.estimate`.

    Args:
        first, second: (..., N) right or wrong of each image.

    Returns:
        Counts (...,) and two-sided binomial p-values (...,); 1 where the models never differ.

    Raises:
        InputError: the shapes disagree.
    """
    one, two = np.asarray(first, bool), np.asarray(second, bool)
    if one.shape != two.shape or not one.ndim:
        raise InputError(f"mcnemar needs the same images: {one.shape} and {two.shape}")
    ours, theirs = (one & ~two).sum(axis=-1), (two & ~one).sum(axis=-1)
    fewer, all_of_them = np.minimum(ours, theirs), ours + theirs
    p_value = np.minimum(1.0, 2 * stats.binom.cdf(fewer, all_of_them, 0.5))
    return McNemar(ours, theirs, p_value)


def holm(p_values: npt.ArrayLike) -> Floats:
    """p-values adjusted for testing all of them (Holm, 1979), in the given order; NaN stays."""
    given = np.asarray(p_values, float)
    adjusted = np.full(given.shape, np.nan)
    known = np.flatnonzero(~np.isnan(given))
    order = known[np.argsort(given[known], kind="stable")]
    left = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(left * given[order]))
    return adjusted


def class_means(values: xr.DataArray) -> xr.DataArray:
    """Mean of each class over its images: dimension ``class`` instead of ``image``, as shares.

    Args:
        values: right or wrong, or differences, with the coordinate ``label`` on image.

    Raises:
        InputError: the dimension ``image`` or its labels are missing.
    """
    if "image" not in values.dims or "label" not in values.coords:
        raise InputError("class_means needs the dimension image with the coordinate label")
    present, codes, counts = np.unique(
        values["label"].to_numpy(), return_inverse=True, return_counts=True
    )
    share = xr.DataArray(np.eye(len(present))[codes] / counts, dims=("image", "class"))
    names = class_names(values)
    labels = [names[label] for label in present] if names else present
    return xr.dot(values.astype(float), share, dim="image").assign_coords({"class": labels})


def over_seeds(values: xr.DataArray) -> Estimates:
    """Mean over seeds with Student's 95 % interval; of one seed no interval (NaN).

    For what has no interval over images of its own: a minimum, a rank correlation.

    Args:
        values: dimension ``seed`` (NaN: not measured); ``group`` and all others become rows; an
            attribute ``unit`` is told in the table's note, else it says points.

    Raises:
        InputError: there is no dimension ``seed``.
    """
    if "seed" not in values.dims:
        raise InputError(f"over_seeds needs the dimension seed, not {values.dims}")
    if "group" not in values.dims:
        values = values.expand_dims(group=[str(values.name or "mean")])
    rows = [dim for dim in values.dims if dim not in ("seed", "group")]
    array = values.transpose(*rows, "group", "seed").astype(float)
    seeds, mean = array.count("seed").to_numpy(), array.mean("seed").to_numpy()
    deviations = array - array.mean("seed")
    squares = (deviations**2).sum("seed").to_numpy()
    sd = np.where(seeds > 1, np.sqrt(squares / np.maximum(seeds - 1, 1)), np.nan)
    error = sd / np.sqrt(np.maximum(seeds, 1))
    half = stats.t.isf((1 - LEVEL) / 2, np.maximum(seeds - 1, 1)) * error
    exact = error < 1e-12
    ratio = np.abs(mean) / np.where(exact, 1.0, error)
    p_value = 2 * stats.t.sf(ratio, np.maximum(seeds - 1, 1))
    p_value = np.where(exact, np.where(np.abs(mean) < 1e-12, 1.0, 0.0), p_value)
    found = Interval(mean, mean - half, mean + half, p_value, seeds, sd)
    names: dict[Hashable, npt.NDArray] = {dim: values[dim].to_numpy() for dim in rows}
    table = table_of(found, names, values["group"].values.tolist(), "group")
    table.attrs = {"level": LEVEL, "over": "seeds"}
    if "unit" in values.attrs:
        table.attrs["unit"] = values.attrs["unit"]
    return table


def rank_correlation(first: npt.NDArray, second: npt.NDArray) -> Floats:
    """Spearman's rank correlation along the last axis; NaN where one is constant."""
    one, two = (stats.rankdata(each, axis=-1) for each in (first, second))
    one, two = (each - each.mean(axis=-1, keepdims=True) for each in (one, two))
    size = np.sqrt((one**2).sum(axis=-1) * (two**2).sum(axis=-1))
    with np.errstate(invalid="ignore"):
        return np.asarray((one * two).sum(axis=-1) / np.where(size > 0, size, np.nan))
