"""Allocations without an optimizer: the post's ranking of layers, and a greedy descent."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import xarray as xr

from ltqlib.allocation.costs import Limit
from ltqlib.allocation.losses import InfeasibleError, merge, named, units
from ltqlib.allocation.objective import Objective
from ltqlib.errors import InputError

ROUNDED = 9  # decimals of a loss that count: what sums leave below them is no difference


def rank(losses: xr.DataArray, objective: Objective, low: int) -> list[str]:
    """Layers from most to least sensitive: the objective with only that layer at ``low`` bits.

    With a mean that is ``Sen_n = Acc(A) - Acc(C_n)``, the post's figure 11. Equal losses keep the
    order of the layers.

    Args:
        losses: (class, layer, bits).
    """
    drops = objective.value(losses.sel(bits=low).transpose("class", "layer").values)
    order = np.argsort(-np.round(drops, ROUNDED), kind="stable")
    return [losses.layer.values.tolist()[place] for place in order]


def split(ranking: Sequence[str], limits: Sequence[Limit], high: int, low: int) -> dict[str, int]:
    """The post's allocation: the most sensitive layers get ``high`` bits, the rest ``low``.

    The ranking is walked from its sensitive end; a layer gets ``high`` bits if every limit still
    holds, and is passed over if not.

    Args:
        limits: at least one; their layers give the order of the result.

    Raises:
        InputError: no limit, or the ranking does not name every layer once.
        InfeasibleError: not even ``low`` bits everywhere keep a limit.
    """
    if not limits:
        raise InputError("a ranking without a limit gives every layer the most bits: give a limit")
    layers = limits[0].costs.layer.values.tolist()
    if sorted(ranking) != sorted(layers):
        raise InputError("the ranking does not name every layer exactly once")
    costs = np.stack([limit.costs.sel(layer=layers, bits=[low, high]).values for limit in limits])
    most = np.array([limit.limit + _slack(limit.costs.values) for limit in limits])
    spent = costs[:, :, 0].sum(1)
    if (spent > most).any():
        every = zip(limits, spent.tolist(), most.tolist(), strict=True)
        broken = {limit: least for limit, least, allowed in every if least > allowed}
        raise InfeasibleError(
            {limit.name: limit.limit for limit in broken},
            {limit.name: least for limit, least in broken.items()},
            together=True,
        )
    widths = dict.fromkeys(layers, low)
    for name in ranking:
        place = layers.index(name)
        more = spent + costs[:, place, 1] - costs[:, place, 0]
        if (more <= most).all():
            widths[name], spent = high, more
    return widths


def _slack(costs: npt.NDArray[np.float64]) -> float:
    return 1e-9 * float(np.abs(costs).max())


def greedy(
    losses: xr.DataArray,
    limit: Limit,
    objective: Objective,
    tied: Sequence[Sequence[str]] = (),
) -> dict[str, int]:
    """The descent of AIMET's automatic mixed precision, with any objective in place of accuracy.

    All layers start at the largest width. While the limit does not hold, the one layer is lowered
    to the one width that raises the objective least per cost saved; a layer is never raised again.

    Args:
        losses: (class, layer, bits).
        tied: groups of layers that must share a width.

    Returns:
        ``{layer: bits}``; no better than :func:`ltqlib.allocation.solve` with the same arguments.

    Raises:
        InfeasibleError: the limit is below what the descent can reach.
    """
    groups = units(losses.layer.values.tolist(), tied)
    table, costs = merge(losses.values, groups), merge(limit.table(losses), groups)
    every = np.arange(len(groups))
    choice = np.full(len(groups), int(np.argmax(losses.bits.values)))
    while (spent := costs[every, choice].sum()) > limit.limit + _slack(costs):
        saved = costs[every, choice][:, None] - costs
        if not (saved > 0).any():
            raise InfeasibleError({limit.name: limit.limit}, {limit.name: float(spent)})
        now = table[:, every, choice].sum(1)
        after = now[:, None, None] + table - table[:, every, choice][:, :, None]
        rise = np.round(objective.value(after) - objective.value(now), ROUNDED)
        each = np.where(saved > 0, rise / np.where(saved > 0, saved, 1), np.inf)
        unit, width = np.unravel_index(np.argmin(each), each.shape)
        choice[unit] = width
    return named(losses, choice, groups)
