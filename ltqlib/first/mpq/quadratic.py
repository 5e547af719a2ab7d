"""Losses that do not add up: single losses plus what each pair of layers loses beyond the sum."""

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ltqlib.first.errors import InputError
from ltqlib.first.mpq.costs import Budget
from ltqlib.first.mpq.objective import Objective
from ltqlib.first.mpq.problem import Sensitivity, Table
from ltqlib.first.mpq.program import Constraint, minimize
from ltqlib.first.mpq.solver import Allocation, infeasible, solved


@dataclass(frozen=True, eq=False)
class Quadratic:
    """The model of CLADO (Deng et al., 2025), for every class.

    Args:
        sensitivity: losses of each layer alone.
        interactions: what two layers lose together beyond the sum, (classes, pairs, widths,
            widths), pairs in the order of ``itertools.combinations``; 0 where not measured.

    Raises:
        InputError: the interactions have another shape, or one is not finite.
    """

    sensitivity: Sensitivity
    interactions: Table

    def __post_init__(self) -> None:
        classes, layers, widths = self.sensitivity.losses.shape
        shape = (classes, layers * (layers - 1) // 2, widths, widths)
        if self.interactions.shape != shape or not np.isfinite(self.interactions).all():
            raise InputError(
                f"the interactions have shape {self.interactions.shape}: give one finite value for "
                f"each class, pair of layers, width and width, {shape}"
            )

    def losses(self, choices: Table) -> Table:
        """Predicted losses (M, classes) of configurations (M, layers) of weight bits.

        Raises:
            InputError: a width that the sensitivity does not have.
        """
        widths = np.array(self.sensitivity.widths)
        given = np.atleast_2d(np.asarray(choices))
        if unknown := set(given.ravel().tolist()) - set(self.sensitivity.widths):
            raise InputError(
                f"a configuration has {min(unknown)} bits, the sensitivity has "
                f"{', '.join(map(str, self.sensitivity.widths))}: measure that width first"
            )
        at = (given[..., None] == widths).argmax(-1)
        total = self.sensitivity.losses[:, np.arange(at.shape[1]), at].sum(-1)
        for number, (i, j) in enumerate(itertools.combinations(range(at.shape[1]), 2)):
            total = total + self.interactions[:, number, at[:, i], at[:, j]]
        return np.asarray(total.T)

    def predict(self, allocation: Mapping[str, int]) -> Table:
        """Predicted loss of each class (classes,) under ``{layer: bits}``."""
        row = np.array([[allocation[name] for name in self.sensitivity.layers]])
        return np.asarray(self.losses(row)[0])


def allocate_quadratic(
    model: Quadratic, budgets: Sequence[Budget], objective: Objective
) -> Allocation:
    """The widths of least ``objective`` of the quadratic model within the budgets, proven by HiGHS.

    A mixed-integer linear program with a variable for each product of two widths (program.py):
    16 layers and 4 widths take seconds.

    Raises:
        InputError: budgets of other layers or widths, or an objective of unknown classes.
        InfeasibleError: no widths keep all limits.
    """
    started = time.perf_counter()
    table = model.sensitivity
    for budget in budgets:
        budget.check_matches(table.layers, table.widths)
    limits = [Constraint(b.name, b.costs[None], b.limit) for b in budgets]
    solution = minimize(table.losses, objective, limits, model.interactions)
    if solution is None:
        raise infeasible(limits)
    choice, bound = solution
    widths = table.named(choice, [[layer] for layer in range(len(table.layers))])
    return solved(widths, model.predict(widths), objective, bound, budgets, started)
