"""The head-tail curve in numbers, each with its interval: what a quantization costs, twice."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from ltqlib.statistics.curve import Curve, images_of, of_each_model
from ltqlib.statistics.estimate import By, Estimates, estimate
from ltqlib.statistics.operating import FLOAT, Reference, at_best, from_groups, selected

OVER_ALL = ("norm at best point", "norm lost at best point", "area lost")
UNEVEN = "tail lost beyond head at best point"
MEASURES = (*OVER_ALL, UNEVEN)


def curve_summary(outcomes: xr.Dataset, reference: Reference = FLOAT) -> Estimates:
    """What the curve of each model says as a whole, and what it lost against the reference.

    Args:
        outcomes: with ``best_head``, ``best_tail`` and ``margin`` of each image.
        reference: as :func:`ltqlib.statistics.operating.at_equal_head`.

    Returns:
        One row for each model and measure, points: accuracy over all classes at the best point of
        the model's own curve, and lost; ``area lost``, the mean over all head accuracies of the
        tail accuracy lost at equal head, where a model that does not reach a head accuracy has
        none (area under the curve, Chao et al., 2016); and what the tail loses beyond the head
        where each model, the reference too, is at the best point of its own curve. Equal head
        accuracy leaves every loss to the tail; this measure treats head and tail alike. It has no
        interval for one seed: see :func:`ltqlib.statistics.operating.at_best`.

    Raises:
        InputError: a variable, coordinate, group or the reference is missing.
    """
    known = selected(outcomes, reference)
    best, best_known = at_best(outcomes), at_best(known)
    area = area_under_curve(known) - area_under_curve(outcomes)
    measures = pd.Index(OVER_ALL, name="measure")
    found = xr.concat([best, best_known - best, area], measures, combine_attrs="drop_conflicts")
    table = estimate(found.transpose(..., "measure", "image"), by="norm")
    rows = table.droplevel("group").rename_axis(index={"measure": "group"})
    uneven = estimate(best_known - best, by=("tail", "head"))
    uneven.loc[uneven["seeds"] == 1, ["low", "high", "p"]] = np.nan
    named = Estimates(pd.concat([rows, uneven.rename(index={"tail - head": UNEVEN})]))
    named.attrs = table.attrs | {"no interval": "one seed was evaluated"}
    return named


def estimate_each(
    values: Mapping[Any, xr.DataArray], names: Sequence[str], by: By = "group"
) -> Estimates:
    """Estimates of several outcomes in one table; ``names`` are the levels that their keys fill."""
    found = {key: estimate(each, by) for key, each in values.items()}
    table = Estimates(pd.concat(found, names=[*names, *next(iter(found.values())).index.names]))
    table.attrs = dict(next(iter(found.values())).attrs)
    return table


def area_under_curve(outcomes: xr.Dataset) -> xr.DataArray:
    """What each image contributes to the area under the curve, for intervals.

    The area is the mean, over pairs of a head and a tail image, of "there is an offset with which
    both are right"; an image's term is the mean over its pairs, less half of the area. These are
    the structural components of DeLong, DeLong and Clarke-Pearson (1988), so that
    ``estimate(area_under_curve(outcomes), by="norm")`` is the area in points with its interval,
    and differences of models are paired. One image means nothing.

    Args, Raises: as :func:`ltqlib.statistics.curve.head_tail_curve`.
    """
    images = images_of(outcomes)
    sizes = [{"image": len(images.labels)}] * 2
    of_head, of_tail = of_each_model(_components, outcomes, images, sizes)
    terms = from_groups(outcomes, head=of_head, tail=of_tail)
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
