"""Exact allocation: the widths of least loss within any number of limits."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ltqlib.first.errors import InputError
from ltqlib.first.mpq.costs import Budget
from ltqlib.first.mpq.objective import Objective
from ltqlib.first.mpq.problem import InfeasibleError, Sensitivity, Table, merge, units
from ltqlib.first.mpq.program import Constraint, minimize

CLASS_LOSS = "loss of any class"


@dataclass(frozen=True, eq=False)
class Allocation:
    """Widths, and what the additive model says of them.

    Args:
        widths: ``{layer: bits}``, layers in order.
        class_losses: predicted loss of each class (classes,), in the unit of the sensitivity.
        objective: the value that was made small, in the same unit.
        costs: ``{budget's name: cost}``, in the unit of each budget.
        gap: objective minus the proven lower bound; 0 but for rounding (see :func:`allocate`).
        seconds: wall time of the solver.
    """

    widths: dict[str, int]
    class_losses: Table
    objective: float
    costs: dict[str, float]
    gap: float
    seconds: float


def allocate(
    sensitivity: Sensitivity,
    budgets: Sequence[Budget],
    objective: Objective,
    *,
    tied: Sequence[Sequence[str]] = (),
    max_class_loss: float | None = None,
) -> Allocation:
    """The widths of least ``objective`` among all that keep the limits, by a MILP in HiGHS.

    Exact for the additive model (problem.py), up to the tolerances of HiGHS: nothing is better by
    more than 1e-6 of the largest loss in the table. Limits are met to 1e-9 of the largest cost.

    Args:
        tied: groups of layers that must share a width.
        max_class_loss: no class may lose more than this, in the unit of the sensitivity.

    Raises:
        InputError: budgets of other layers or widths, or an objective of unknown classes.
        InfeasibleError: no widths keep all limits; says which limit to raise, and how far.
    """
    started = time.perf_counter()
    groups = units(sensitivity.layers, tied)
    limits = _limits(sensitivity, budgets, groups, max_class_loss)
    solution = minimize(merge(sensitivity.losses, groups), objective, limits)
    if solution is None:
        raise infeasible(limits)
    choice, bound = solution
    widths = sensitivity.named(choice, groups)
    losses = sensitivity.predict(widths)
    return solved(widths, losses, objective, bound, budgets, started)


def solved(
    widths: dict[str, int],
    class_losses: Table,
    objective: Objective,
    bound: float,
    budgets: Sequence[Budget],
    started: float,
) -> Allocation:
    """The allocation of the widths that a program found: value, costs, gap and time.

    Args:
        class_losses: what the program's model predicts of the widths (classes,).
        bound: proven lower bound of the objective.
        started: what ``time.perf_counter`` said when the work began.
    """
    value = objective.value(class_losses)
    return Allocation(
        widths=widths,
        class_losses=class_losses,
        objective=value,
        costs={budget.name: budget.cost(widths) for budget in budgets},
        gap=max(0.0, value - bound),
        seconds=time.perf_counter() - started,
    )


def smallest_cost(
    sensitivity: Sensitivity,
    budget: Budget,
    *,
    others: Sequence[Budget] = (),
    tied: Sequence[Sequence[str]] = (),
    max_class_loss: float | None = None,
) -> float:
    """The least cost that the other limits allow, whatever the limit of ``budget`` itself.

    With ``max_class_loss``: the smallest model in which no class loses more than that.

    Raises:
        InputError, InfeasibleError: as :func:`allocate`, for the limits that remain.
    """
    groups = units(sensitivity.layers, tied)
    own, *limits = _limits(sensitivity, [budget, *others], groups, max_class_loss)
    value = _least(own, limits)
    if value is None:
        raise infeasible(limits)
    return value


def _limits(
    sensitivity: Sensitivity,
    budgets: Sequence[Budget],
    groups: Sequence[Sequence[int]],
    max_class_loss: float | None,
) -> list[Constraint]:
    for budget in budgets:
        budget.check_matches(sensitivity.layers, sensitivity.widths)
    if len({b.name for b in budgets}) < len(budgets):
        raise InputError(f"two budgets share a name: {', '.join(b.name for b in budgets)}")
    limits = [Constraint(b.name, merge(b.costs, groups)[None], b.limit) for b in budgets]
    if max_class_loss is not None:
        if math.isnan(max_class_loss):
            raise InputError("max_class_loss is not a number: give one, or leave it out")
        losses = merge(sensitivity.losses, groups)
        limits.append(Constraint(CLASS_LOSS, losses, max_class_loss))
    return limits


def infeasible(limits: Sequence[Constraint]) -> InfeasibleError:
    """Which limit to raise: the least value of each while the others hold.

    If no single limit is to blame, the limits are taken in order, and each is raised to the least
    value that those before it allow.
    """
    named = {limit.name: limit.limit for limit in limits}
    nearest = {}
    for limit in limits:
        value = _least(limit, [other for other in limits if other is not limit])
        if value is not None:
            nearest[limit.name] = value
    if nearest:
        return InfeasibleError(named, nearest)
    raised: list[Constraint] = []
    for limit in limits:
        value = _least(limit, raised)
        assert value is not None, "the raised limits have a solution"
        if value > limit.limit:
            nearest[limit.name] = value
        raised.append(replace(limit, limit=max(value, limit.limit)))
    return InfeasibleError(named, nearest, together=True)


def _least(constraint: Constraint, others: Sequence[Constraint]) -> float | None:
    """The smallest limit of ``constraint`` that can be met within the others; None if none can."""
    solution = minimize(constraint.rows, Objective.worst(), others)
    return None if solution is None else constraint.value(solution[0])
