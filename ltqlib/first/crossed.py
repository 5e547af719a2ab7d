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
up to 99 % where they bring none. tests/test_crossed.py integrates the rule and simulates it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

from ltqlib.first.errors import InputError

Floats = npt.NDArray[np.float64]
ROUNDING = 1e-9  # points: what is smaller than this is the rounding of a sum


class Estimate(NamedTuple):
    """A statistic in points, its interval and its test.

    Attributes:
        value, low, high: estimate and interval, points.
        p_value: two-sided, of "the truth is 0"; below 1 - level exactly if 0 is outside.
        seeds: number of runs S. With one, the interval knows of images only.
        df: Satterthwaite's effective degrees of freedom of the variance (inf for one seed):
            how well the variance is known. The interval does not use it (see the module).
        sd_seeds: standard deviation over seeds of the statistic of each, points; NaN for one seed.
    """

    value: float
    low: float
    high: float
    p_value: float
    seeds: int
    df: float
    sd_seeds: float


class _Variances(NamedTuple):
    """Parts of the variance of the statistic, squared points."""

    seeds: float
    images: float
    both: float

    @property
    def total(self) -> float:
        """Variance for new seeds and new images."""
        return self.seeds + max(0.0, self.images - self.both)


def class_weights(classes: int, plus: Sequence[int], minus: Sequence[int] = ()) -> Floats:
    """Weights (classes,) of "mean accuracy of ``plus`` minus mean accuracy of ``minus``".

    Raises:
        InputError: ``plus`` is empty, or a label is not in 0 .. classes - 1.
    """
    if not plus:
        raise InputError("class_weights needs at least one class in plus")
    wrong = [label for label in (*plus, *minus) if not 0 <= label < classes]
    if wrong:
        raise InputError(f"class_weights: label {wrong[0]} is not in 0 .. {classes - 1}")
    weights = np.zeros(classes)
    for members, sign in ((plus, 1.0), (minus, -1.0)):
        for label in members:
            weights[label] += sign / len(members)
    return weights


def crossed_interval(
    outcomes: npt.ArrayLike, labels: npt.ArrayLike, weights: npt.ArrayLike, level: float = 0.95
) -> Estimate:
    """Interval and test of ``sum_c weights[c] * mean over seeds and images of class c``.

    Args:
        outcomes: (S, N), seeds x images: correct (0 or 1), or a paired difference of that
            (-1, 0, 1), or a difference of differences. The same image in one column.
        labels: (N,) true class of each image.
        weights: (C,) weight of each class, see :func:`class_weights`.
        level: of the interval.

    Returns:
        The estimate in points. With S = 1 it is the normal interval over images.

    Raises:
        InputError: the shapes disagree, the level is not between 0 and 1, or a class with a
            weight has fewer than two images.
    """
    values, classes, factors = _checked(outcomes, labels, weights, level)
    seeds = len(values)
    blocks = {int(c): values[:, classes == c] for c in np.flatnonzero(factors)}
    per_seed = sum(
        (factors[c] * block.mean(axis=1) for c, block in blocks.items()), np.zeros(seeds)
    )
    value = float(per_seed.mean())
    sd = float(per_seed.std(ddof=1)) if seeds > 1 else float("nan")
    variances = _Variances(
        sd**2 / seeds if seeds > 1 else 0.0,
        sum(factors[c] ** 2 * _images_variance(block) for c, block in blocks.items()),
        sum(factors[c] ** 2 * _residual_variance(block) for c, block in blocks.items()),
    )
    half = _half_width(variances, seeds, (1 - level) / 2)
    return Estimate(
        value, value - half, value + half, _p_value(value, variances, seeds), seeds,
        _satterthwaite(variances, seeds), sd,
    )  # fmt: skip


def _checked(
    outcomes: npt.ArrayLike, labels: npt.ArrayLike, weights: npt.ArrayLike, level: float
) -> tuple[Floats, npt.NDArray[np.int64], Floats]:
    """Outcomes in points, labels and weights as arrays that fit together."""
    values, factors = 100 * np.asarray(outcomes, float), np.asarray(weights, float)
    classes = np.asarray(labels, np.int64)
    if values.ndim != 2 or len(values) < 1 or classes.shape != values.shape[1:]:
        raise InputError(
            f"outcomes {values.shape} must be (seeds, images) with a label an image,"
            f" labels are {classes.shape}"
        )
    if factors.ndim != 1 or (
        len(classes) and not 0 <= classes.min() <= classes.max() < len(factors)
    ):
        raise InputError(f"weights {factors.shape} must be one for each class that labels name")
    if not 0 < level < 1:
        raise InputError(f"level {level} must be between 0 and 1, such as 0.95")
    few = np.flatnonzero((factors != 0) & (np.bincount(classes, minlength=len(factors)) < 2))
    if len(few):
        raise InputError(
            f"class {few[0]} has fewer than two test images: no interval can be given for it"
        )
    return values, classes, factors


def _images_variance(block: Floats) -> float:
    """Variance of the mean of one class (S, n) that its images bring."""
    return float(block.mean(axis=0).var(ddof=1)) / block.shape[1]


def _residual_variance(block: Floats) -> float:
    """Variance of the mean of one class (S, n) that is neither seed nor image; 0 for one seed."""
    seeds, images = block.shape
    if seeds == 1:
        return 0.0
    residual = block - block.mean(axis=1, keepdims=True) - block.mean(axis=0) + block.mean()
    mean_square = float((residual**2).sum()) / ((seeds - 1) * (images - 1))
    return mean_square / (seeds * images)


def _critical(variances: _Variances, seeds: int, tail: float) -> float:
    """Cochran's (1964) critical value in standard errors; ``tail``: probability above it."""
    normal = -float(special.ndtri(tail))
    if seeds == 1 or variances.total <= ROUNDING**2:
        return normal
    share = variances.seeds / variances.total
    return share * -float(special.stdtrit(seeds - 1, tail)) + (1 - share) * normal


def _half_width(variances: _Variances, seeds: int, tail: float) -> float:
    """Half of the interval that leaves out ``tail`` on each side; at least that of the images."""
    own = _critical(variances, seeds, tail) * np.sqrt(variances.total)
    return float(max(own, -special.ndtri(tail) * np.sqrt(variances.images)))


def _p_value(value: float, variances: _Variances, seeds: int) -> float:
    """The p-value at which the interval around ``value`` just touches 0."""
    size = abs(value)
    if size <= ROUNDING:
        return 1.0

    def beyond(z: float) -> float:
        return _half_width(variances, seeds, float(special.ndtr(-z))) - size

    # The p-value is searched as a normal quantile; 37 is about where it leaves double precision.
    if beyond(37.0) < 0:
        return 0.0
    return 2 * float(special.ndtr(-optimize.brentq(beyond, 0.0, 37.0, xtol=1e-12)))


def _satterthwaite(variances: _Variances, seeds: int) -> float:
    """Degrees of freedom of the total if only V_seeds is estimated (Satterthwaite, 1946)."""
    if variances.seeds <= ROUNDING**2:
        return float("inf")
    return (seeds - 1) * (variances.total / variances.seeds) ** 2
