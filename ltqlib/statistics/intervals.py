"""Intervals when several seeds are tested on the same images. NumPy and SciPy only.

Runs of one configuration share their test images, so neither the seeds nor the images of a run
are independent observations on their own: the design is crossed (seeds x images), images nested
in classes. The statistic is a weighted sum of class means, in points (percent). Its variance is
that of a new draw of both, seeds and images (Searle, Casella and McCulloch, 1992, chapter 4)::

    V_seeds  = var_s(m_s) / S                       m_s: the statistic of seed s
    V_images = sum_c w_c^2 var_i(mean over s) / n_c
    V_both   = sum_c w_c^2 MS_residual_c / (S n_c)  in both of the former, so taken off once
    V        = V_seeds + max(0, V_images - V_both)

V_seeds has S - 1 degrees of freedom, the rest practically infinitely many. The t distribution
with Satterthwaite's (1946) degrees of freedom, ``(S - 1) (V / V_seeds)^2``, takes the estimated
share of V_seeds for the true one: two seeds that happen to agree then look like no variance of
seeds, and 95 % intervals cover only 87 % (S = 2) or 92 % (S = 3) where seeds dominate. We use
Cochran's (1964) rule instead: each part brings its own quantile::

    critical value = share * t(S - 1) + (1 - share) * z         share = V_seeds / V

It covers 94 % to 98 % with two seeds, 95 % to 97 % with three and 95 % to 96 % with five,
whatever the share. And no interval is shorter than the one from images alone: without this floor,
two seeds that agree by chance would promise more than their images can. The floor makes the
intervals conservative where the seeds bring less than about half of the variance (97 % to 98 %),
up to 99 % where they bring none. tests/statistics/test_intervals.py integrates the rule and
simulates it.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import special

from ltqlib.errors import InputError

Floats = npt.NDArray[np.float64]
ROUNDING = 1e-9  # points: what is smaller than this is the rounding of a sum
FARTHEST = 37.0  # the normal quantile at which p-values leave double precision


class Interval(NamedTuple):
    """Statistics in points, their intervals and tests; arrays of one shape, or numbers.

    Attributes:
        value, low, high: estimate and interval, points. No interval (NaN) where a class with a
            weight has a single image, nothing at all where no seed was measured.
        p_value: two-sided, of "the truth is 0"; below 1 - level exactly if 0 is outside.
        seeds: number of runs S. With one, the interval knows of images only.
        sd_seeds: standard deviation over seeds of the statistic of each, points; NaN for one seed.
    """

    value: Any
    low: Any
    high: Any
    p_value: Any
    seeds: Any
    sd_seeds: Any


class Variances(NamedTuple):
    """Parts of the variance of the statistic, squared points; arrays of one shape."""

    seeds: Floats
    images: Floats
    both: Floats

    @property
    def total(self) -> Floats:
        """Variance for new seeds and new images."""
        return self.seeds + np.maximum(0.0, self.images - self.both)


class _Moments(NamedTuple):
    """What one row of outcomes (S, N) says of each class: all that the intervals need."""

    means: Floats  # (S, C)
    images: Floats  # (C,) variance of the mean that its images bring
    both: Floats  # (C,) variance of the mean that is neither seed nor image


def crossed_interval(
    outcomes: npt.ArrayLike, labels: npt.ArrayLike, weights: npt.ArrayLike, level: float = 0.95
) -> Interval:
    """Interval and test of ``sum_c weights[c] * mean over seeds and images of class c``.

    Args:
        outcomes: (..., S, N), seeds x images: correct (0 or 1), or a paired difference of that
            (-1, 0, 1), or a difference of differences. The same image in one column. A seed that
            is NaN throughout was not measured, an image that is NaN for every seed is left out.
        labels: (N,) true class of each image.
        weights: (C,) weight of each class; or (G, C), several
            statistics of the same outcomes.
        level: of the interval.

    Returns:
        The estimates in points, of shape (...,) or (..., G). With S = 1 the intervals are the
        normal ones over images.

    Raises:
        InputError: the shapes disagree, the level is not between 0 and 1, a class with a weight
            has no image, or a seed misses images that another has.
    """
    values, classes, factors = _checked(outcomes, labels, weights, level)
    order = np.argsort(classes, kind="stable")
    rows = values.reshape(-1, *values.shape[-2:])
    found = [_one_row(row[:, order], classes[order], np.atleast_2d(factors)) for row in rows]
    shape = values.shape[:-2] + factors.shape[:-1]
    value, sd, seeds, *parts = (
        np.stack(column).reshape(shape) for column in zip(*found, strict=True)
    )
    variances = Variances(*parts)
    rule = Rule(variances, seeds)
    half = rule.half_width(-special.ndtri((1 - level) / 2))
    columns = (value, value - half, value + half, _p_value(value, rule), seeds, sd)
    return Interval._make(column[()] for column in columns)


def _checked(
    outcomes: npt.ArrayLike, labels: npt.ArrayLike, weights: npt.ArrayLike, level: float
) -> tuple[Floats, npt.NDArray[np.int64], Floats]:
    """Outcomes, labels and weights as arrays that fit together."""
    values, factors = np.asarray(outcomes), np.asarray(weights, float)
    classes = np.asarray(labels, np.int64)
    if values.ndim < 2 or 0 in values.shape or classes.shape != values.shape[-1:]:
        raise InputError(
            f"outcomes {values.shape} must be (..., seeds, images) with a label an image,"
            f" labels are {classes.shape}"
        )
    if factors.ndim not in (1, 2) or not 0 <= classes.min() <= classes.max() < factors.shape[-1]:
        raise InputError(f"weights {factors.shape} must be one for each class that labels name")
    if not 0 < level < 1:
        raise InputError(f"level {level} must be between 0 and 1, such as 0.95")
    return values, classes, factors


def _one_row(
    values: npt.NDArray, labels: npt.NDArray[np.int64], weights: Floats
) -> tuple[Floats, ...]:
    """Value, sd over seeds, seeds and parts of the variance of one row, each (G,)."""
    values, labels = _measured(100 * values.astype(float), labels)
    seeds = np.full(len(weights), len(values))
    if not len(values):
        nothing = np.full(len(weights), np.nan)
        return nothing, nothing, seeds, nothing, nothing, nothing
    used = np.flatnonzero(weights.any(axis=0))
    if missing := sorted(set(used.tolist()) - set(labels.tolist())):
        raise InputError(f"class {missing[0]} has no test image: leave it out of the group")
    keep = np.isin(labels, used)
    moments = _moments(values[:, keep], labels[keep])
    factors = weights[:, used]
    each = moments.means @ factors.T
    many = len(values) > 1
    sd = each.std(axis=0, ddof=1) if many else np.full(len(weights), np.nan)
    squared = factors**2
    needed = np.where(squared == 0, 0.0, 1.0)  # 0 x NaN: a class of one image without a weight
    images, both = (
        np.where(needed, squared * part, 0.0).sum(axis=1) for part in (moments.images, moments.both)
    )
    return each.mean(axis=0), sd, seeds, sd**2 / len(values) if many else 0 * images, images, both


def _measured(
    values: Floats, labels: npt.NDArray[np.int64]
) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Without seeds that are NaN throughout, and images that are NaN for every other seed."""
    absent = np.isnan(values)
    if not absent.any():
        return values, labels
    seeds = ~absent.all(axis=1)
    images = ~absent[seeds].all(axis=0)
    if absent[np.ix_(seeds, images)].any():
        raise InputError("a seed lacks images that another seed has: measure both on the same ones")
    return values[np.ix_(seeds, images)], labels[images]


def _moments(values: Floats, labels: npt.NDArray[np.int64]) -> _Moments:
    """Means and variances of each class present; ``values`` (S, N) sorted by label."""
    starts = np.flatnonzero(np.diff(labels, prepend=-1))
    counts = np.diff(starts, append=len(labels))
    seeds = len(values)
    means = np.add.reduceat(values, starts, axis=1) / counts
    column = values.mean(axis=0)
    beyond = column - np.repeat(means.mean(axis=0), counts)
    with np.errstate(divide="ignore", invalid="ignore"):  # one image: 0 / 0, no variance
        images = np.add.reduceat(beyond**2, starts) / (counts - 1) / counts
        rest = values - np.repeat(means, counts, axis=1) - beyond
        both = np.add.reduceat((rest**2).sum(axis=0), starts) / (counts - 1) / (seeds * counts)
    return _Moments(means, images, both / (seeds - 1) if seeds > 1 else np.zeros(len(counts)))


class Rule:
    """Cochran's (1964) rule for some variances, and the floor; arrays of one shape.

    Probabilities are given as the normal quantile ``z`` that leaves them out above.
    """

    def __init__(self, variances: Variances, seeds: npt.ArrayLike) -> None:
        total, runs = variances.total, np.asarray(seeds)
        alone = (runs < 2) | (total <= ROUNDING**2)
        self.share = np.where(alone, 0.0, variances.seeds / np.where(alone, 1.0, total))
        self.df = np.maximum(1, runs - 1)
        self.error, self.floor = np.sqrt(total), np.sqrt(variances.images)

    def critical(self, z: npt.ArrayLike) -> Floats:
        """The critical value in standard errors."""
        student = -special.stdtrit(self.df, special.ndtr(-np.asarray(z)))
        student = np.where(self.share == 0, z, student)  # far out it is infinite
        return np.asarray(self.share * student + (1 - self.share) * z)

    def half_width(self, z: npt.ArrayLike) -> Floats:
        """Half of the interval; at least that of the images alone."""
        return np.maximum(self.critical(z) * self.error, z * self.floor)


def _p_value(value: Floats, rule: Rule) -> Floats:
    """The p-value at which the interval around ``value`` just touches 0, by bisection."""
    size = np.abs(value)
    low, high = np.zeros(size.shape), np.full(size.shape, FARTHEST)
    for _ in range(45):
        middle = (low + high) / 2
        inside = rule.half_width(middle) < size
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    p_value = 2 * special.ndtr(-(low + high) / 2)
    p_value = np.where(rule.half_width(np.float64(FARTHEST)) < size, 0.0, p_value)
    unknown = np.isnan(value) | np.isnan(rule.error)
    return np.where(unknown, np.nan, np.where(size <= ROUNDING, 1.0, p_value))
