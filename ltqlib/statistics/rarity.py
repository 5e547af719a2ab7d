"""Rarity and class identity as labelled estimates, for every measure at once."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import xarray as xr

from ltqlib.statistics.estimate import STATISTICS, Estimates
from ltqlib.statistics.identity import decompose, fit_identity

PARTS = ("per tenfold images", "rarity", "class", "head less tail")


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
        InputError: as :func:`fit_identity` and :func:`decompose`.
    """
    others = [dim for dim in values.dims if dim not in ("order", "seed", "class")]
    rows = {}
    for at in np.ndindex(*(values.sizes[dim] for dim in others)):
        chosen = values.isel(dict(zip(others, at, strict=True)))
        fit = fit_identity(chosen.transpose("order", "seed", "class").drop_vars(others))
        split = decompose(fit, order, groups["head"], groups["tail"])
        key = tuple(chosen[dim].item() for dim in others)
        for part, found in zip(PARTS, (fit.slope, *split[:3]), strict=True):
            rows[(*key, part)] = (*found[:4], np.nan, fit.frame["run"].nunique())
    table = Estimates.from_dict(rows, orient="index", columns=list(STATISTICS))
    table.index = pd.MultiIndex.from_tuples(rows, names=[*others, "group"])
    table.attrs = {"level": fit.level, "over": f"{fit.frame['order'].nunique()} class orders"}
    return table
