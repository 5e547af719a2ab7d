"""Rankings of layers: do two of them differ beyond their noise?

Whatever is ranked twice is ranked on different images, so that no image is on both sides.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy import stats

from ltqlib.errors import InputError
from ltqlib.statistics.estimate import Estimates, group_members, table_of
from ltqlib.statistics.intervals import Interval
from ltqlib.statistics.paired import rank_correlation

Floats = npt.NDArray[np.float64]
RESAMPLES, LEVEL = 400, 0.95


def ranks_differ(
    outcomes: xr.DataArray, by: tuple[str, str] = ("norm", "tail"), resamples: int = RESAMPLES
) -> Estimates:
    """Do two criteria rank the layers differently, beyond the noise of a ranking?

    On two halves a, b of the images: the mean of rho(first_a, first_b) and rho(second_a, second_b)
    less the mean of rho(first_a, second_b) and rho(second_a, first_b), rho Spearman's, averaged
    over seeds. Above 0, a criterion agrees better with itself than with the other. The value is
    the mean over random stratified halves of bootstrap samples of the images; the interval adds
    their variance to that of the mean over seeds (Student t).

    Args:
        outcomes: of each image, or losses, dimensions layer, image and perhaps seed.
        by: the two groups whose means are ranked: "norm" or a name in the coordinate ``group``.
        resamples: bootstrap samples.

    Returns:
        One row, in units of Spearman's rho, with its 95 % interval.

    Raises:
        InputError: a dimension or group is missing, or a class has fewer than two images.
    """
    array = _ordered(outcomes)
    labels = outcomes["label"].to_numpy()
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    if min(map(len, members)) < 2:
        raise InputError("ranks_differ needs two images of each class: one for each half")
    # of each class, (seeds, layers, images of the class), in one piece
    blocks = [array[..., mine] for mine in members]
    weights = _shares(outcomes, by)
    generator = np.random.default_rng(0)
    values = np.array(
        [_disagreement(blocks, members, weights, generator) for _ in range(resamples)]
    )  # (resamples, seeds)
    table = table_of(_interval(values), {}, ["within less between"], "group")
    table.attrs = {"level": LEVEL, "unit": "Spearman's rho", "images": len(labels)}
    return table


def _ordered(values: xr.DataArray) -> npt.NDArray[np.float32]:
    """(seeds, layers, images)."""
    if missing := {"layer", "image"} - set(values.dims):
        raise InputError(f"ranks_differ needs the dimension {min(missing)}, not {values.dims}")
    if extra := set(values.dims) - {"layer", "image", "seed"}:
        raise InputError(f"ranks_differ: select one value of {min(map(str, extra))} first")
    whole = values if "seed" in values.dims else values.expand_dims("seed")
    return whole.transpose("seed", "layer", "image").to_numpy().astype(np.float32)


def _shares(values: xr.DataArray, by: Sequence[str]) -> list[Floats]:
    """Weights of the classes, in the order of their labels, for each group."""
    present = np.unique(values["label"].to_numpy())
    members = {"norm": present.tolist()} | group_members(values)
    if unknown := [name for name in by if name not in members]:
        raise InputError(f"group {unknown[0]!r} is not among {', '.join(members)}")
    return [np.isin(present, members[name]) / len(members[name]) for name in by]


def _disagreement(
    blocks: Sequence[npt.NDArray[np.float32]],
    members: Sequence[npt.NDArray[np.intp]],
    weights: Sequence[Floats],
    generator: np.random.Generator,
) -> Floats:
    """The difference of rank correlations for each seed, on one pair of random halves."""
    images = _two_halves(members, generator, sum(map(len, members)))
    # half -> (seeds, layers, classes)
    means = [
        np.stack([b @ half[mine] for b, mine in zip(blocks, members, strict=True)], axis=-1)
        for half in images
    ]
    (first_a, first_b), (second_a, second_b) = [[m @ weight for m in means] for weight in weights]
    within = rank_correlation(first_a, first_b) + rank_correlation(second_a, second_b)
    between = rank_correlation(first_a, second_b) + rank_correlation(second_a, first_b)
    return (within - between) / 2


def _two_halves(
    members: Sequence[npt.NDArray[np.intp]], generator: np.random.Generator, images: int
) -> npt.NDArray[np.float32]:
    """Weights (2, N) of a bootstrap sample dealt into two halves, summing to 1 in each class."""
    found = np.zeros((2, images), np.float32)
    for mine in members:
        drawn = np.bincount(generator.integers(0, len(mine), len(mine)), minlength=len(mine))
        # an image drawn twice stays in one half: halves must not share images
        side = generator.permutation(len(mine)) < len(mine) // 2
        for half, kept in zip(found, (drawn * side, drawn * ~side), strict=True):
            half[mine] = kept / max(1, kept.sum())
    return found


def _interval(values: Floats) -> Interval:
    """From (resamples, seeds): variance over resamples and that of the mean over seeds."""
    seeds = values.shape[1]
    variance = values.mean(axis=1).var(ddof=1)
    sd = values.mean(axis=0).std(ddof=1) if seeds > 1 else np.nan
    total = variance + (sd**2 / seeds if seeds > 1 else 0.0)
    value, error = float(values.mean()), float(np.sqrt(total))
    df = seeds - 1 if seeds > 1 else np.inf
    reach = float(stats.t.isf((1 - LEVEL) / 2, df)) * error
    p_value = 2 * float(stats.t.sf(abs(value) / error, df)) if error else float(value == 0)
    return Interval(value, value - reach, value + reach, p_value, seeds, sd)
