"""The Pareto front of loss against one cost."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ltqlib.allocation.costs import Bits, Limit
from ltqlib.allocation.inputs import Alone, Minimize, each_table, limits_of, table_of
from ltqlib.allocation.objective import Objective
from ltqlib.allocation.solver import Allocation, smallest_cost, solve
from ltqlib.errors import InputError

COSTS = ("mean_bits", "max_size", "max_bops")


def pareto_front(
    alone: Alone,
    minimize: Minimize = "norm",
    choices: Sequence[int] = (8, 6, 5, 4, 3, 2),
    *,
    cost: str | Limit = "mean_bits",
    points: int = 100,
    costs: Any = None,
    act_bits: Bits = 8,
    others: Sequence[Limit] = (),
    **options: Any,
) -> pd.DataFrame:
    """The best allocations at equally spaced limits of one cost: no other has less of both.

    The limits go from the smallest that the other constraints allow to that of ``cost`` (or, if
    it has none, to the largest cost).

    Args:
        alone, minimize, choices, costs, act_bits: as for :func:`ltqlib.allocate`.
        cost: ``mean_bits``, ``max_size``, ``max_bops`` or a :class:`~ltqlib.allocation.Limit`.
        points: how many limits, and at most so many rows for each table of ``alone``.
        others: more limits.
        options: ``tied`` and ``max_class_loss``.

    Returns:
        a row an allocation, with rising cost and falling objective: the other dimensions of
        ``alone``, ``cost``, ``predicted`` (the objective), and the bits of each layer.

    Raises:
        InputError: fewer than two points, an unknown cost, or as :func:`ltqlib.allocate`.
        ltqlib.allocation.InfeasibleError: not even the largest limit can be met.
    """
    if points < 2:
        raise InputError(f"a Pareto front of {points} points: give at least 2")
    losses, objective = table_of(alone, minimize, choices, costs)
    if isinstance(cost, str):
        if cost not in COSTS:
            raise InputError(f"cost {cost!r} is unknown: use {', '.join(COSTS)} or a Limit")
        sought = dict.fromkeys(COSTS) | {cost: math.inf}
        (cost,) = limits_of(losses, **sought, act_bits=act_bits)
    rows = [
        {**at, "cost": found.costs[cost.name], "predicted": found.objective, **found.widths}
        for _, at, table in each_table(losses)
        for found in _front(table, cost, objective, points, others, options)
    ]
    return pd.DataFrame(rows)


def _front(
    losses: xr.DataArray,
    limit: Limit,
    objective: Objective,
    points: int,
    others: Sequence[Limit],
    options: dict[str, Any],
) -> list[Allocation]:
    """Of one table. A limit between the cost of an allocation and the limit that it is best for
    has the same best allocation: it is not solved again."""

    def at(most: float) -> Allocation:
        return solve(losses, [replace(limit, limit=most), *others], objective, **options)

    top = limit.limit if math.isfinite(limit.limit) else limit.table(losses).max(1).sum()
    found = [at(float(top))]
    bottom = smallest_cost(losses, limit, others=others, **options)
    for most in np.linspace(top, bottom, points)[1:]:
        if found[-1].costs[limit.name] > most:
            found.append(at(float(most)))
    kept: list[Allocation] = []
    for allocation in reversed(found):
        if not kept or allocation.objective < kept[-1].objective:
            kept.append(allocation)
    return kept
