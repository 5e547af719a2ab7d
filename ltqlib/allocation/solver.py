"""Exact allocation: the widths of least loss within any number of limits."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import xarray as xr

from ltqlib.allocation.costs import Limit, by_layer
from ltqlib.allocation.losses import (
    InfeasibleError,
    Table,
    class_losses,
    merge,
    named,
    predicted_losses,
    units,
)
from ltqlib.allocation.objective import Objective
from ltqlib.allocation.program import Constraint, minimize
from ltqlib.errors import InputError

CLASS_LOSS = "loss of any class"


@dataclass(frozen=True, eq=False)
class Allocation:
    """Widths, and what the model says of them.

    Args:
        widths: ``{layer: bits}``, layers in order.
        class_losses: predicted loss of each class (classes,), in the unit of the losses.
        objective: the value that was made small, in the same unit.
        costs: ``{limit's name: cost}``, in the unit of each limit.
        gap: objective minus the proven lower bound; 0 but for rounding (see :func:`solve`).
        seconds: wall time of the solver.
    """

    widths: dict[str, int]
    class_losses: Table
    objective: float
    costs: dict[str, float]
    gap: float
    seconds: float


class Problem:
    """One table of losses with its limits, as rows of a program.

    Args:
        losses: (class, layer, bits).
        limits: upper limits on costs.
        tied: groups of layers that must share a width.
        max_class_loss: no class may lose more than this, in the unit of the losses.

    Raises:
        InputError: losses that are no such table, limits on other layers or widths or of one name,
            or ties that name no layer.
    """

    def __init__(
        self,
        losses: xr.DataArray,
        limits: Sequence[Limit] = (),
        *,
        tied: Sequence[Sequence[str]] = (),
        max_class_loss: float | None = None,
    ) -> None:
        self.losses = class_losses(losses)
        if self.losses.ndim != 3:
            raise InputError(
                f"the losses have dimensions {', '.join(map(str, self.losses.dims))}: give one "
                "table (class, layer, bits)"
            )
        self.limits = list(limits)
        if len({limit.name for limit in limits}) < len(limits):
            raise InputError(f"two limits share a name: {', '.join(x.name for x in limits)}")
        self.groups = units(self.losses.layer.values.tolist(), tied)
        self.rows = merge(self.losses.values, self.groups)
        self.constraints = [self._constraint(limit) for limit in limits]
        if max_class_loss is not None:
            if math.isnan(max_class_loss):
                raise InputError("max_class_loss is not a number: give one, or leave it out")
            self.constraints.append(Constraint(CLASS_LOSS, self.rows, max_class_loss))

    def _constraint(self, limit: Limit) -> Constraint:
        costs = merge(limit.table(self.losses), self.groups)
        return Constraint(limit.name, costs[None], limit.limit)

    def minimize(self, objective: Objective) -> Allocation:
        """The widths of least ``objective``; see :func:`solve`."""
        started = time.perf_counter()
        solution = minimize(self.rows, objective, self.constraints)
        if solution is None:
            raise self.infeasible()
        choice, bound = solution
        widths = named(self.losses, choice, self.groups)
        losses = predicted_losses(self.losses, by_layer(widths))
        value = float(objective.value(losses.values))
        return Allocation(
            widths=widths,
            class_losses=losses.values,
            objective=value,
            costs={limit.name: limit.cost(widths) for limit in self.limits},
            gap=max(0.0, value - bound),
            seconds=time.perf_counter() - started,
        )

    def least(self, constraint: Constraint, others: Sequence[Constraint]) -> float | None:
        """The smallest limit that can be met within the others; None if none can."""
        solution = minimize(constraint.rows, Objective.worst(), others)
        return None if solution is None else constraint.value(solution[0])

    def infeasible(self) -> InfeasibleError:
        """Which limit to raise: the least value of each while the others hold.

        If no single limit is to blame, the limits are taken in order, and each is raised to the
        least value that those before it allow.
        """
        limits = self.constraints
        names = {limit.name: limit.limit for limit in limits}
        nearest = {}
        for limit in limits:
            value = self.least(limit, [other for other in limits if other is not limit])
            if value is not None:
                nearest[limit.name] = value
        if nearest:
            return InfeasibleError(names, nearest)
        raised: list[Constraint] = []
        for limit in limits:
            value = self.least(limit, raised)
            assert value is not None, "the raised limits have a solution"
            if value > limit.limit:
                nearest[limit.name] = value
            raised.append(replace(limit, limit=max(value, limit.limit)))
        return InfeasibleError(names, nearest, together=True)


def solve(
    losses: xr.DataArray,
    limits: Sequence[Limit],
    objective: Objective,
    *,
    tied: Sequence[Sequence[str]] = (),
    max_class_loss: float | None = None,
) -> Allocation:
    """The widths of least ``objective`` among all that keep the limits, by a MILP in HiGHS.

    Exact for the model of :mod:`.losses`, up to the tolerances of HiGHS: nothing is better by more
    than 1e-6 of the largest loss in the table. Limits are met to 1e-9 of the largest cost.

    Args:
        losses: one table (class, layer, bits).
        tied: groups of layers that must share a width.
        max_class_loss: no class may lose more than this, in the unit of the losses.

    Raises:
        InputError: limits on other layers or widths, or an objective of unknown classes.
        InfeasibleError: no widths keep all limits; says which limit to raise, and how far.
    """
    return Problem(losses, limits, tied=tied, max_class_loss=max_class_loss).minimize(objective)


def smallest_cost(
    losses: xr.DataArray,
    limit: Limit,
    *,
    others: Sequence[Limit] = (),
    tied: Sequence[Sequence[str]] = (),
    max_class_loss: float | None = None,
) -> float:
    """The least cost that the other limits allow, whatever the limit of ``limit`` itself.

    With ``max_class_loss``: the smallest model in which no class loses more than that.

    Raises:
        InputError, InfeasibleError: as :func:`solve`, for the limits that remain.
    """
    problem = Problem(losses, [limit, *others], tied=tied, max_class_loss=max_class_loss)
    own, *problem.constraints = problem.constraints
    value = problem.least(own, problem.constraints)
    if value is None:
        raise problem.infeasible()
    return value
