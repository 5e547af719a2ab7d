"""The Pareto front of loss against one cost."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ltqlib.first.errors import InputError
from ltqlib.first.mpq.costs import Budget
from ltqlib.first.mpq.objective import Objective
from ltqlib.first.mpq.problem import Sensitivity
from ltqlib.first.mpq.solver import Allocation, allocate, smallest_cost


def pareto_front(
    sensitivity: Sensitivity,
    budget: Budget,
    objective: Objective,
    points: int = 200,
    *,
    others: Sequence[Budget] = (),
    tied: Sequence[Sequence[str]] = (),
    max_class_loss: float | None = None,
) -> list[Allocation]:
    """The best allocations at ``points`` equally spaced limits of ``budget``, none dominated.

    The limits go from the smallest that the other constraints allow to ``budget.limit`` (or, if
    that is infinite, to the largest cost). A limit between the cost of an allocation and the limit
    that it is best for has the same best allocation: it is not solved again.

    Returns:
        allocations with rising cost and falling objective; at most ``points``.

    Raises:
        InputError: fewer than two points, or as :func:`ltqlib.first.mpq.allocate`.
        InfeasibleError: not even the largest limit can be met.
    """
    if points < 2:
        raise InputError(f"a Pareto front of {points} points: give at least 2")
    top = budget.limit if math.isfinite(budget.limit) else float(budget.costs.max(1).sum())

    def at(limit: float) -> Allocation:
        return allocate(
            sensitivity,
            [replace(budget, limit=limit), *others],
            objective,
            tied=tied,
            max_class_loss=max_class_loss,
        )

    found = [at(top)]
    bottom = smallest_cost(
        sensitivity, budget, others=others, tied=tied, max_class_loss=max_class_loss
    )
    for limit in np.linspace(top, bottom, points)[1:]:
        if found[-1].costs[budget.name] > limit:
            found.append(at(float(limit)))
    front: list[Allocation] = []
    for allocation in reversed(found):
        if not front or allocation.objective < front[-1].objective:
            front.append(allocation)
    return front
