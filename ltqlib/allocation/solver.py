"""Exact allocation: the widths of least loss within any number of limits."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import xarray as xr

from ltqlib.allocation.costs import Limit, by_layer
from ltqlib.allocation.losses import InfeasibleError, class_losses, predicted_losses
from ltqlib.allocation.objective import Objective
from ltqlib.allocation.program import Constraint, minimize
from ltqlib.errors import InputError


@dataclass(frozen=True, eq=False)
class Allocation:
    """Widths, and what the model says of them.

    Args:
        widths: ``{layer: bits}``, layers in order.
        class_losses: predicted loss of each class (classes,), in the unit of the losses.
        objective: the value that was made small, in the same unit.
        costs: ``{limit's name: cost}``, in the unit of each limit.
        gap: objective minus the proven lower bound; 0 but for rounding (see :func:`solve`).
    """

    widths: dict[str, int]
    class_losses: npt.NDArray[np.float64]
    objective: float
    costs: dict[str, float]
    gap: float


def solve(losses: xr.DataArray, limits: Sequence[Limit], objective: Objective) -> Allocation:
    """The widths of least ``objective`` among all that keep the limits, by a MILP in HiGHS.

    Exact for the model of :mod:`.losses`, up to the tolerances of HiGHS: nothing is better by more
    than 1e-6 of the largest loss in the table. Limits are met to 1e-9 of the largest cost.

    Args:
        losses: one table (class, layer, bits).

    Raises:
        InputError: limits on other layers or widths or of one name, or an objective of unknown
            classes.
        InfeasibleError: no widths keep all limits; says which limit to raise, and how far.
    """
    losses = class_losses(losses)
    if losses.ndim != 3:
        raise InputError(
            f"the losses have dimensions {', '.join(map(str, losses.dims))}: give one table "
            "(class, layer, bits)"
        )
    if len({limit.name for limit in limits}) < len(limits):
        raise InputError(f"two limits share a name: {', '.join(x.name for x in limits)}")
    constraints = [Constraint(x.name, x.table(losses)[None], x.limit) for x in limits]
    solution = minimize(losses.values, objective, constraints)
    if solution is None:
        raise _infeasible(constraints)
    choice, bound = solution
    bits = losses.bits.values[choice].tolist()
    widths = dict(zip(losses.layer.values.tolist(), bits, strict=True))
    found = predicted_losses(losses, by_layer(widths)).values
    value = float(objective.value(found))
    costs = {limit.name: limit.cost(widths) for limit in limits}
    return Allocation(widths, found, value, costs, gap=max(0.0, value - bound))


def _least(constraint: Constraint, others: Sequence[Constraint]) -> float | None:
    """The smallest limit that can be met within the others; None if none can."""
    solution = minimize(constraint.rows, Objective.worst(), others)
    return None if solution is None else constraint.value(solution[0])


def _infeasible(limits: Sequence[Constraint]) -> InfeasibleError:
    """Which limit to raise: the least value of each while the others hold.

    If no single limit is to blame, the limits are taken in order, and each is raised to the
    least value that those before it allow.
    """
    names = {limit.name: limit.limit for limit in limits}
    alone = {x.name: _least(x, [other for other in limits if other is not x]) for x in limits}
    if nearest := {name: value for name, value in alone.items() if value is not None}:
        return InfeasibleError(names, nearest)
    raised: list[Constraint] = []
    for limit in limits:
        value = _least(limit, raised)
        assert value is not None, "the raised limits have a solution"
        if value > limit.limit:
            nearest[limit.name] = value
        raised.append(replace(limit, limit=max(value, limit.limit)))
    return InfeasibleError(names, nearest, together=True)
