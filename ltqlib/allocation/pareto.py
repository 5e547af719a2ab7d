"""The Pareto front of loss against one cost."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from ltqlib.allocation.costs import Limit
from ltqlib.allocation.objective import Objective
from ltqlib.allocation.solver import Allocation, smallest_cost, solve
from ltqlib.errors import InputError


def front(
    losses: xr.DataArray,
    limit: Limit,
    objective: Objective,
    points: int = 200,
    *,
    others: Sequence[Limit] = (),
    **options: Any,
) -> list[Allocation]:
    """The best allocations at ``points`` equally spaced limits of one cost, none dominated.

    The limits go from the smallest that the other constraints allow to ``limit.limit`` (or, if
    that is infinite, to the largest cost). A limit between the cost of an allocation and the limit
    that it is best for has the same best allocation: it is not solved again.

    Args:
        losses: one table (class, layer, bits).
        options: ``tied`` and ``max_class_loss``, as for :func:`ltqlib.allocation.solve`.

    Returns:
        allocations with rising cost and falling objective; at most ``points``.

    Raises:
        InputError: fewer than two points, or as :func:`ltqlib.allocation.solve`.
        InfeasibleError: not even the largest limit can be met.
    """
    if points < 2:
        raise InputError(f"a Pareto front of {points} points: give at least 2")
    top = limit.limit if math.isfinite(limit.limit) else float(limit.table(losses).max(1).sum())

    def at(most: float) -> Allocation:
        return solve(losses, [replace(limit, limit=most), *others], objective, **options)

    found = [at(top)]
    bottom = smallest_cost(losses, limit, others=others, **options)
    for most in np.linspace(top, bottom, points)[1:]:
        if found[-1].costs[limit.name] > most:
            found.append(at(float(most)))
    kept: list[Allocation] = []
    for allocation in reversed(found):
        if not kept or allocation.objective < kept[-1].objective:
            kept.append(allocation)
    return kept
