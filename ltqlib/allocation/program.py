"""The mixed-integer linear program behind an allocation, solved to proven optimality by HiGHS.

One binary variable ``x[l, w]`` a layer and width, one width a layer. A term of the objective that
is not a mean adds the linear form of Rockafellar and Uryasev (2000),

    CVaR_f(losses) = min_t  t + 1 / (f n) * sum_c max(losses_c - t, 0),

whose limit for small f is the worst class: ``t >= losses_c`` for every c.
"""

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import linalg, optimize

from ltqlib.allocation.objective import Objective

TOLERANCE = 1e-9  # limits are met to this share of the largest cost: sums are not exact
SHARPEN = 1e3  # HiGHS stops at a gap of 1e-6: times this, of 1e-9 of the largest loss
DIGITS = 12  # of a loss, as a share of the largest

Table = npt.NDArray[np.float64]
Choice = npt.NDArray[np.intp]  # place of a width for each layer


@dataclass(frozen=True, eq=False)
class Constraint:
    """Each of the ``rows`` (n, layers, widths), summed over layers, stays within ``limit``."""

    name: str
    rows: Table
    limit: float

    def value(self, choice: Choice) -> float:
        """The largest value of any row under a choice."""
        return float(self.rows[:, np.arange(len(choice)), choice].sum(1).max())

    def holds(self, choice: Choice) -> bool:
        """Whether the limit is met, up to rounding."""
        return self.value(choice) <= self.limit + TOLERANCE * np.abs(self.rows).max()

    def linear(self) -> optimize.LinearConstraint:
        """The constraint on a scale that suits the tolerances of HiGHS."""
        scale = np.abs(self.rows).max() or 1.0
        rows = self.rows.reshape(len(self.rows), -1)
        return optimize.LinearConstraint(rows / scale, -np.inf, self.limit / scale)


def minimize(
    rows: Table, objective: Objective, constraints: Sequence[Constraint]
) -> tuple[Choice, float] | None:
    """The widths of least ``objective`` that keep every constraint.

    Args:
        rows: losses of the classes, (classes, layers, widths).

    Returns:
        (place of a width for each layer (layers,), proven lower bound of the objective), or None
        if no widths keep the constraints.
    """
    layers, widths = rows.shape[1:]
    scale = float(np.abs(rows).max()) or 1.0
    # the last digits of a mean are the processor's own: they must not decide between equals
    program = _program(np.round(rows / scale, DIGITS), objective)
    one_width = optimize.LinearConstraint(np.kron(np.eye(layers), np.ones(widths)), 1, 1)
    fixed = [one_width, *(constraint.linear() for constraint in constraints)]
    for _ in range(1_000):
        result = _solve(program, fixed, layers * widths)
        if result.status == 2:
            return None
        if result.status != 0:
            raise RuntimeError(f"HiGHS found no proven optimum: {result.message}")
        found = result.x[: layers * widths].reshape(layers, widths).argmax(1)
        if all(constraint.holds(found) for constraint in constraints):
            return found, float(result.mip_dual_bound) * scale / SHARPEN
        # within the tolerance of HiGHS (1e-6), not within ours: take the next best
        again = np.eye(widths)[found].reshape(1, -1)
        fixed.append(optimize.LinearConstraint(again, -np.inf, layers - 1))
    raise RuntimeError("HiGHS passed 1,000 allocations that do not keep the limits")


class _Program(NamedTuple):
    """A linear program over the x and, behind them, variables of the terms."""

    cost: Table  # (all variables,)
    rows: Table  # (m, all variables), each at most 0
    low: Table
    high: Table


def _program(rows: Table, objective: Objective) -> _Program:
    width = rows[0].size
    cost, low, high = np.zeros(width), np.zeros(width), np.ones(width)
    linear = np.zeros((0, width))
    for term in objective.terms:
        losses = term.of(rows)
        n = len(losses)
        share = max(term.fraction * n, 1.0)
        if share >= n:
            cost[:width] += term.weight * losses.mean(0).ravel()
            continue
        # t, and for a CVaR the excess of each class over t; only the worst class needs no excess
        excess = n if share > 1 else 0
        least, most = losses.min(2).sum(1).min(), losses.max(2).sum(1).max()
        own = -np.hstack([np.ones((n, 1)), np.eye(n)[:, :excess]])
        linear = linalg.block_diag(linear, own)
        linear[-n:, :width] = losses.reshape(n, -1)
        cost = np.r_[cost, term.weight, np.full(excess, term.weight / share)]
        low = np.r_[low, least, np.zeros(excess)]
        high = np.r_[high, most, np.full(excess, most - least)]
    return _Program(cost, linear, low, high)


def _solve(
    program: _Program, fixed: Sequence[optimize.LinearConstraint], columns: int
) -> optimize.OptimizeResult:
    variables = len(program.cost)
    padded = [
        optimize.LinearConstraint(np.pad(c.A, [(0, 0), (0, variables - c.A.shape[1])]), c.lb, c.ub)
        for c in fixed
    ]
    with _quiet():
        return optimize.milp(
            SHARPEN * program.cost,
            integrality=np.arange(variables) < columns,
            bounds=optimize.Bounds(program.low, program.high),
            constraints=[*padded, optimize.LinearConstraint(program.rows, -np.inf, 0)],
            options={"mip_rel_gap": 0, "presolve": False},  # it took as long as it saved
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
