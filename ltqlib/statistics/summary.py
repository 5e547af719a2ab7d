"""The head-tail curve in numbers, each with its interval: what a quantization costs, twice."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from ltqlib.statistics.curve import NEEDED, Curve, images_of
from ltqlib.statistics.estimate import By, Estimates, estimate, side_by_side
from ltqlib.statistics.operating import (
    FLOAT,
    Reference,
    at_best,
    from_groups,
    selected,
    tail_at_equal_head,
)

MEASURES = (
    "head",
    "tail",
    "head lost",
    "tail lost",
    "tail lost at equal head",
    "norm at best point",
    "norm lost at best point",
    "area lost",
)


def curve_summary(
    outcomes: xr.Dataset,
    reference: Reference = FLOAT,
    *,
    point: str = "best",
    head: str = "head",
    tail: str = "tail",
    level: float = 0.95,
) -> Estimates:
    """What the curve of each model says, and what it lost against the reference.

    Args:
        outcomes: with ``best_head``, ``best_tail`` and ``margin`` of each image.
        reference, point, head, tail: as :func:`ltqlib.statistics.operating.at_equal_head`.
        level: of the intervals, which are paired over seeds and images.

    Returns:
        One row for each model and measure, points: ``head`` and ``tail`` accuracy as they are, and
        lost; ``tail lost at equal head`` accuracy (empty where that is out of reach); accuracy
        over all classes at the best point of the model's own curve, and lost; ``area lost``, the
        mean over all head accuracies of the tail accuracy lost at equal head, where a model that
        does not reach a head accuracy has none (area under the curve, Chao et al., 2016).

    Raises:
        InputError: a variable, coordinate, group or the reference is missing.
    """
    known = selected(outcomes, reference)
    two = {"head": head, "tail": tail}
    plain, plain_known = (right_as_is(each) for each in (outcomes, known))
    best, best_known = (at_best(each, **two) for each in (outcomes, known))
    options = {**two, "point": point}
    equal = tail_at_equal_head(known, known, **options) - tail_at_equal_head(
        outcomes, known, **options
    )
    area = area_under_curve(known, **two) - area_under_curve(outcomes, **two)
    lost = plain_known - plain
    levels, losses = (estimate(each, "group", level) for each in (plain, lost))
    found = (
        levels.of(head),
        levels.of(tail),
        losses.of(head),
        losses.of(tail),
        *(estimate(each, "norm", level) for each in (equal, best, best_known - best, area)),
    )
    return side_by_side(dict(zip(MEASURES, found, strict=True)))


def estimate_each(
    values: Mapping[Any, xr.DataArray], names: Sequence[str], by: By = "group"
) -> Estimates:
    """Estimates of several outcomes in one table; ``names`` are the levels that their keys fill."""
    found = {key: estimate(each, by) for key, each in values.items()}
    table = Estimates(pd.concat(found, names=[*names, *next(iter(found.values())).index.names]))
    table.attrs = dict(next(iter(found.values())).attrs)
    return table


def right_as_is(outcomes: xr.Dataset) -> xr.DataArray:
    """Right (1) or wrong (0) of each image without any offset, float32; NaN where unmeasured."""
    labels, margin = outcomes["label"], outcomes["margin"]
    called = xr.where(margin > 0, outcomes["best_tail"], outcomes["best_head"])
    right = (called == labels).astype(np.float32).where(margin.notnull())
    return right.transpose(*margin.dims).assign_attrs(outcomes.attrs)


def area_under_curve(
    outcomes: xr.Dataset, *, head: str = "head", tail: str = "tail"
) -> xr.DataArray:
    """What each image contributes to the area under the curve, for intervals.

    The area is the mean, over pairs of a head and a tail image, of "there is an offset with which
    both are right"; an image's term is the mean over its pairs, less half of the area. These are
    the structural components of DeLong, DeLong and Clarke-Pearson (1988), so that
    ``estimate(area_under_curve(outcomes), by="norm")`` is the area in points with its interval,
    and differences of models are paired. One image means nothing.

    Args, Raises: as :func:`ltqlib.statistics.curve.head_tail_curve`.
    """
    images = images_of(outcomes, head, tail)

    def one(*model: npt.NDArray) -> tuple[npt.NDArray, npt.NDArray]:
        if np.isnan(model[2]).all():
            missing = np.full(len(images.labels), np.nan)
            return missing, missing
        return _components(Curve.of(images, *model))

    of_head, of_tail = xr.apply_ufunc(
        one,
        *(outcomes[name] for name in NEEDED),
        input_core_dims=[["image"]] * 3,
        output_core_dims=[["image"]] * 2,
        vectorize=True,
    )
    terms = from_groups(outcomes, head=of_head, tail=of_tail, names=(head, tail))
    return terms.assign_attrs(outcomes.attrs)


def _components(curve: Curve) -> tuple[npt.NDArray, npt.NDArray]:
    """For each image its mean over the images of the other group, less half of the area, (N,).

    A head image is right up to its switch, a tail image above its own: both are right somewhere in
    between if the tail image switches first; images that switch together count half.
    """
    head, tail = curve.images.head * curve.right_low, curve.images.tail * curve.right_high
    order = np.argsort(curve.switch, kind="stable")
    places = curve.switch[order]
    low, high = (np.searchsorted(places, curve.switch, side) for side in ("left", "right"))
    tails, heads = (np.append(0.0, np.cumsum(each[order])) for each in (tail, head))
    before = (tails[low] + tails[high]) / 2  # weight of the tail images that switch before
    after = heads[-1] - (heads[low] + heads[high]) / 2
    area = float(head @ before)
    return curve.right_low * before - area / 2, curve.right_high * after - area / 2
