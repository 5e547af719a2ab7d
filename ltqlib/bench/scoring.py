"""Scores: rank correlations with true losses, and their intervals.

Whatever predicts sees one half of the test images and is scored by the true loss on the other;
then the halves swap, and the two are averaged. Scores come as samples, (1 + draws, ..., seeds):
the first is the score itself, the others are those of bootstrap samples of what the seeds share
(images, or configurations). Two scores have the same samples, so differences are paired.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import xarray as xr

from ltqlib.bench.configurations import FLOAT
from ltqlib.bench.table import EQUAL_HEAD, HALVES
from ltqlib.errors import InputError
from ltqlib.statistics import Estimates, tail_at_equal_head
from ltqlib.statistics.estimate import group_members, table_of
from ltqlib.statistics.intervals import Interval, Rule, Variances
from ltqlib.statistics.paired import rank_correlation

DRAWS = 400
NORMAL = 1.959964  # quantile of 95 %
UNIT = "Spearman's correlation"


def summary(samples: xr.DataArray, over: str) -> Estimates:
    """Means over seeds with intervals at 95 %: of the seeds, and of what the draws are of.

    The two variances are added; each brings its own quantile, as everywhere in the book
    (:mod:`ltqlib.statistics.intervals`).

    Args:
        samples: (draw, seed, ..., group), the first draw is the score itself.
        over: what the draws are of, for the table.
    """
    rows = [dim for dim in samples.dims if dim not in ("draw", "seed", "group")]
    values = samples.transpose("draw", *rows, "group", "seed").values
    seeds = values.shape[-1]
    sd = values[0].std(axis=-1, ddof=1) if seeds > 1 else np.full(values.shape[1:-1], np.nan)
    drawn = values[1:].mean(axis=-1).var(axis=0, ddof=1)
    variances = Variances(np.nan_to_num(sd) ** 2 / seeds, drawn, np.zeros_like(drawn))
    half, mean = Rule(variances, seeds).half_width(NORMAL), values[0].mean(axis=-1)
    unknown = np.full_like(mean, np.nan)
    found = Interval(mean, mean - half, mean + half, unknown, np.full(mean.shape, seeds), sd)
    names = {dim: samples[dim].values for dim in rows}
    table = table_of(found, names, samples["group"].values.tolist(), "group")
    table.attrs = {"level": 0.95, "unit": UNIT, "over": f"{seeds} seeds and {over}"}
    return table


def layer_losses(alone: xr.Dataset, draws: int = DRAWS) -> xr.DataArray:
    """Points that the tail loses with one layer alone, on each half and on samples of its images.

    Args:
        alone: what :func:`ltqlib.sensitivity` returns, 32 bits among its widths.

    Returns:
        (group, half, draw, seed, layer, bits), the first draw is the half itself; group is
        ``tail`` or, at equal head accuracy, ``tail, equal head``. Where a seed does not reach the
        head accuracy, all of its tail is lost.
    """
    seeds = range(alone.sizes["seed"])  # one by one: a seed out of reach says nothing of the others
    equal = xr.concat([tail_at_equal_head(alone.isel(seed=[k])).fillna(0) for k in seeds], "seed")
    plain, tail = alone.right.astype(float), group_members(alone)["tail"]
    every = np.unique(alone.label.values).tolist()
    found = []
    for group, members, values in (("tail", tail, plain), (EQUAL_HEAD, every, equal)):
        narrow = [bits for bits in alone.bits.values if bits != FLOAT]
        lost = 100 * (values.sel(bits=FLOAT, drop=True) - values.sel(bits=narrow))
        weights = _samples(alone.label.values, alone.half.values, members, draws)
        found.append(xr.dot(lost, weights, dim="image").assign_coords(group=group))
    return xr.concat(found, "group")


def _samples(
    labels: npt.NDArray, halves: npt.NDArray, members: Sequence[int], draws: int
) -> xr.DataArray:
    """Weights (half, draw, image) of the mean over classes, in bootstrap samples of each class."""
    rng = np.random.default_rng(0)
    found = np.zeros((len(HALVES), 1 + draws, len(labels)), np.float32)
    for at, half in enumerate(HALVES):
        for label in members:
            mine = np.flatnonzero((halves == half) & (labels == label))
            drawn = rng.multinomial(len(mine), np.full(len(mine), 1 / len(mine)), draws)
            found[at][:, mine] = np.vstack([np.ones(len(mine)), drawn]) / len(mine) / len(members)
    return xr.DataArray(found, {"half": list(HALVES)}, ("half", "draw", "image"))


def agreement(scores: xr.DataArray, losses: xr.DataArray, over: str = "layer") -> xr.DataArray:
    """Rank correlation of scores on one half with losses on the other, the mean of both ways.

    Args:
        scores, losses: with the dimensions half and ``over``, broadcast against each other.

    Returns:
        their other dimensions; 0 where one of the two is constant, for it ranks nothing.

    Raises:
        InputError: a dimension is missing.
    """
    for each in (scores, losses):
        if missing := {"half", over} - set(each.dims):
            raise InputError(f"agreement needs the dimension {min(missing)}, not {each.dims}")
    found = []
    for one, other in (HALVES, HALVES[::-1]):
        pair = xr.broadcast(
            scores.sel(half=one, drop=True), losses.sel(half=other, drop=True), exclude=[over]
        )
        values = xr.apply_ufunc(rank_correlation, *pair, input_core_dims=[[over]] * 2)
        found.append(values.fillna(0))
    return (found[0] + found[1]) / 2


def differences(
    samples: xr.DataArray, dim: str, pairs: Mapping[str, tuple[str, str]]
) -> xr.DataArray:
    """The first of each pair less the second, along a dimension, under new names."""
    each = [
        samples.sel({dim: first}, drop=True) - samples.sel({dim: second}, drop=True)
        for first, second in pairs.values()
    ]
    return xr.concat(each, dim).assign_coords({dim: list(pairs)})
