"""The post's allocation: layers ranked by what each alone costs."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from ltqlib.allocation.costs import Limit
from ltqlib.allocation.losses import InfeasibleError
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
    most = np.array([limit.limit + 1e-9 * float(abs(limit.costs).max()) for limit in limits])
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
