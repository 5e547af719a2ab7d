"""The mixed-integer linear program behind an allocation, solved to proven optimality by HiGHS.

One binary variable ``x[g, w]`` a group of tied layers and width, one width a group. A term of the
objective that is not a mean adds the linear form of Rockafellar and Uryasev (2000),

    CVaR_f(losses) = min_t  t + 1 / (f n) * sum_c max(losses_c - t, 0),

whose limit for small f is the worst class: ``t >= losses_c`` for every c.

Interactions of two groups add a variable ``y[g, v, h, w]`` for ``x[g, v] x[h, w]``, made so by
``sum_w y = x[g, v]`` and ``sum_v y = x[h, w]``: where the x are 0 or 1, the y are their product.
A loss or a cost is one row of numbers over all of these columns, the x and then the y.
"""

import contextlib
import ctypes
import itertools
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import linalg, optimize

from ltqlib.allocation.losses import Table
from ltqlib.allocation.objective import Objective

TOLERANCE = 1e-9  # limits are met to this share of the largest cost: sums are not exact
SHARPEN = 1e3  # HiGHS stops at a gap of 1e-6: times this, of 1e-9 of the largest loss

Choice = npt.NDArray[np.intp]  # place of a width for each group of tied layers


@dataclass(frozen=True)
class Columns:
    """The columns of rows: a width for each group and, if ``paired``, the products of pairs."""

    groups: int
    widths: int
    paired: bool = False

    @property
    def singles(self) -> int:
        """How many columns choose the width of a group."""
        return self.groups * self.widths

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """The pairs of groups that have products."""
        return list(itertools.combinations(range(self.groups), 2)) if self.paired else []

    def row(self, losses: Table, interactions: Table | None = None) -> Table:
        """Rows (n, columns) of losses (n, groups, widths) and interactions (n, pairs, W, W)."""
        flat = losses.reshape(len(losses), -1)
        if not self.paired:
            return flat
        if interactions is None:
            interactions = np.zeros((len(losses), len(self.pairs), self.widths, self.widths))
        return np.hstack([flat, interactions.reshape(len(losses), -1)])

    def chosen(self, choice: Choice) -> Table:
        """1 in the columns that a choice takes, else 0, (columns,)."""
        each = np.eye(self.widths)[choice]
        products = [np.outer(each[g], each[h]).ravel() for g, h in self.pairs]
        return np.concatenate([each.ravel(), *products])

    def bounds(self, rows: Table) -> tuple[float, float]:
        """Below the least and above the largest value of any row under any choice."""
        singles = rows[:, : self.singles].reshape(len(rows), -1, self.widths)
        products = rows[:, self.singles :].reshape(len(rows), -1, self.widths**2)
        least, most = (
            getattr(singles, end)(axis=2).sum(1) + getattr(products, end)(axis=2).sum(1)
            for end in ("min", "max")
        )
        return float(least.min()), float(most.max())

    def rules(self) -> list[optimize.LinearConstraint]:
        """One width a group; products that agree with the widths."""
        one_width = np.kron(np.eye(self.groups), np.ones(self.widths))
        found = [optimize.LinearConstraint(one_width, 1, 1)]
        return [*found, self._products()] if self.pairs else found

    def _products(self) -> optimize.LinearConstraint:
        """Over a width of one group, the products with each width of another sum to it."""
        one, each = np.ones((1, self.widths)), np.eye(self.widths)
        sums = np.concatenate([np.kron(each, one), np.kron(one, each)])  # (2 widths, widths^2)
        rows = np.zeros((len(self.pairs), 2 * self.widths, self.groups, self.widths))
        for number, (g, h) in enumerate(self.pairs):
            rows[number, : self.widths, g] = rows[number, self.widths :, h] = -each
        products = np.kron(np.eye(len(self.pairs)), sums)
        found = np.hstack([rows.reshape(len(products), self.singles), products])
        return optimize.LinearConstraint(found, 0, 0)


@dataclass(frozen=True, eq=False)
class Constraint:
    """Each of the ``rows`` (n, columns) stays within ``limit``."""

    name: str
    rows: Table
    limit: float

    def value(self, chosen: Table) -> float:
        """The largest value of any row, for the columns that a choice takes."""
        return float((self.rows @ chosen).max())

    def holds(self, chosen: Table) -> bool:
        """Whether the limit is met, up to rounding."""
        return self.value(chosen) <= self.limit + TOLERANCE * np.abs(self.rows).max()

    def linear(self) -> optimize.LinearConstraint:
        """The constraint on a scale that suits the tolerances of HiGHS."""
        scale = np.abs(self.rows).max() or 1.0
        return optimize.LinearConstraint(self.rows / scale, -np.inf, self.limit / scale)


def minimize(
    rows: Table, objective: Objective, constraints: Sequence[Constraint], columns: Columns
) -> tuple[Choice, float] | None:
    """The widths of least ``objective`` that keep every constraint.

    Args:
        rows: losses of the classes, (classes, columns).

    Returns:
        (place of a width for each group (groups,), proven lower bound of the objective), or None
        if no widths keep the constraints.

    Raises:
        RuntimeError: HiGHS gives up.
    """
    scale = float(np.abs(rows).max()) or 1.0
    program = _program(rows / scale, objective, columns)
    fixed = [*columns.rules(), *(constraint.linear() for constraint in constraints)]
    for _ in range(1_000):
        result = _solve(program, fixed, columns)
        if result.status == 2:
            return None
        if result.status != 0:
            raise RuntimeError(f"HiGHS found no proven optimum: {result.message}")
        found = result.x[: columns.singles].reshape(columns.groups, columns.widths).argmax(1)
        chosen = columns.chosen(found)
        if all(constraint.holds(chosen) for constraint in constraints):
            return found, float(result.mip_dual_bound) * scale / SHARPEN
        # within the tolerance of HiGHS (1e-6), not within ours: take the next best
        again = chosen[None, : columns.singles]
        fixed.append(optimize.LinearConstraint(again, -np.inf, columns.groups - 1))
    raise RuntimeError("HiGHS passed 1,000 allocations that do not keep the limits")


class _Program(NamedTuple):
    """A linear program over the columns and, behind them, variables of the terms."""

    cost: Table  # (all variables,)
    rows: Table  # (m, all variables), each at most 0
    low: Table
    high: Table


def _program(rows: Table, objective: Objective, columns: Columns) -> _Program:
    width = rows.shape[1]
    cost, low, high = np.zeros(width), np.zeros(width), np.ones(width)
    linear = np.zeros((0, width))
    for term in objective.terms:
        losses = term.of(rows)
        n = len(losses)
        share = max(term.fraction * n, 1.0)
        if share >= n:
            cost[:width] += term.weight * losses.mean(0)
            continue
        # t, and for a CVaR the excess of each class over t; only the worst class needs no excess
        excess = n if share > 1 else 0
        least, most = columns.bounds(losses)
        own = -np.hstack([np.ones((n, 1)), np.eye(n)[:, :excess]])
        linear = linalg.block_diag(linear, own)
        linear[-n:, :width] = losses
        cost = np.r_[cost, term.weight, np.full(excess, term.weight / share)]
        low = np.r_[low, least, np.zeros(excess)]
        high = np.r_[high, most, np.full(excess, most - least)]
    return _Program(cost, linear, low, high)


def _solve(
    program: _Program, fixed: Sequence[optimize.LinearConstraint], columns: Columns
) -> optimize.OptimizeResult:
    variables = len(program.cost)
    padded = [
        optimize.LinearConstraint(np.pad(c.A, [(0, 0), (0, variables - c.A.shape[1])]), c.lb, c.ub)
        for c in fixed
    ]
    with _quiet():
        return optimize.milp(
            SHARPEN * program.cost,
            integrality=np.arange(variables) < columns.singles,
            bounds=optimize.Bounds(program.low, program.high),
            constraints=[*padded, optimize.LinearConstraint(program.rows, -np.inf, 0)],
            # without presolve, but for products: it took as long as it saved
            options={"mip_rel_gap": 0, "presolve": columns.paired},
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the process's standard output shut.

    HiGHS 1.12 prints a line for developers whatever its options (jump-dev/HiGHS.jl#312), from C:
    only the file descriptor reaches it. A thread that prints meanwhile is not heard.
    """
    sys.stdout.flush()
    kept = os.dup(1)
    shut = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(shut, 1)
        yield
    finally:
        if os.name == "posix":
            ctypes.CDLL(None).fflush(None)  # what C still holds goes the same way
        os.dup2(kept, 1)
        os.close(shut)
        os.close(kept)
