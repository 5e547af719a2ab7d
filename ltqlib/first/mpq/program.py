"""The mixed-integer linear program behind an allocation, solved to proven optimality by HiGHS.

One binary variable ``x[g, w]`` a group of tied layers and width, one width a group. A term of the
objective that is not a mean adds the linear form of Rockafellar and Uryasev (2000),

    CVaR_f(losses) = min_t  t + 1 / (f n) * sum_c max(losses_c - t, 0),

whose limit for small f is the worst class: ``t >= losses_c`` for every c.

Interactions of two groups add a variable ``y[g, v, h, w]`` for ``x[g, v] x[h, w]``, made so by
``sum_w y = x[g, v]`` and ``sum_v y = x[h, w]``: where the x are 0 or 1, the y are their product.
"""

import contextlib
import ctypes
import itertools
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import linalg, optimize

from ltqlib.first.mpq.objective import Objective, Term
from ltqlib.first.mpq.problem import Choice, Table

TOLERANCE = 1e-9  # limits are met to this share of the largest cost: sums are not exact
SHARPEN = 1e3  # HiGHS stops at a gap of 1e-6: times this, of 1e-9 of the largest loss


@dataclass(frozen=True, eq=False)
class Constraint:
    """Each row's sum over the groups stays within ``limit``; rows (n, groups, widths)."""

    name: str
    rows: Table
    limit: float

    def value(self, choice: Choice) -> float:
        """The largest sum of any row, for a width for each group (groups,)."""
        return float(self.rows[:, np.arange(len(choice)), choice].sum(1).max())

    def holds(self, choice: Choice) -> bool:
        """Whether the limit is met, up to rounding."""
        return self.value(choice) <= self.limit + TOLERANCE * np.abs(self.rows).max()


@dataclass(frozen=True, eq=False)
class _Block:
    """A term of the objective as a linear program with k variables of its own and m rows <= 0."""

    x_cost: Table  # (binaries,)
    cost: Table  # (k,)
    x_rows: Table  # (m, binaries)
    rows: Table  # (m, k)
    low: Table  # (k,)
    high: Table  # (k,)


def minimize(
    losses: Table,
    objective: Objective,
    constraints: Sequence[Constraint],
    interactions: Table | None = None,
) -> tuple[Choice, float] | None:
    """The widths of least ``objective`` that keep every constraint.

    Args:
        losses: (classes, groups, widths).
        interactions: what two groups lose beyond the sum, (classes, pairs, widths, widths), pairs
            in the order of ``itertools.combinations``.

    Returns:
        (index of a width for each group (groups,), proven lower bound of the objective), or None
        if no widths keep the constraints.

    Raises:
        RuntimeError: HiGHS gives up.
    """
    groups, widths = losses.shape[1:]
    scale = float(np.abs(losses).max()) or 1.0
    fixed = [_one_width_a_group(groups, widths), *(_limit(c) for c in constraints)]
    if interactions is None:
        blocks = [_block(term, losses / scale) for term in objective.terms]
    else:
        tables = _spread(losses, interactions) / scale
        blocks = [_behind(groups * widths, _block(term, tables)) for term in objective.terms]
        fixed.append(_products(groups, widths))
    excluded: list[optimize.LinearConstraint] = []
    while len(excluded) < 1_000:
        result = _solve(groups * widths, blocks, [*fixed, *excluded])
        if result.status == 2:
            return None
        if result.status != 0:
            raise RuntimeError(f"HiGHS found no proven optimum: {result.message}")
        choice = result.x[: groups * widths].reshape(groups, widths).argmax(1)
        if all(constraint.holds(choice) for constraint in constraints):
            return choice, float(result.mip_dual_bound) * scale / SHARPEN
        # within the tolerance of HiGHS (1e-6), not within ours: take the next best
        chosen = np.eye(widths)[choice].reshape(1, -1)
        excluded.append(optimize.LinearConstraint(chosen, -np.inf, groups - 1))
    raise RuntimeError("HiGHS passed 1,000 allocations that do not keep the limits")


def _block(term: Term, losses: Table) -> _Block:
    rows = term.of(losses)
    n = len(rows)
    flat = rows.reshape(n, -1)
    share = max(term.fraction * n, 1.0)
    if share >= n:
        none = np.zeros(0)
        empty = np.zeros((0, flat.shape[1]))
        return _Block(term.weight * flat.mean(0), none, empty, np.zeros((0, 0)), none, none)
    # t, and for a CVaR the excess of each class over t; only the worst class needs no excess
    excess = n if share > 1 else 0
    least, most = rows.min(2).sum(1).min(), rows.max(2).sum(1).max()
    return _Block(
        x_cost=np.zeros(flat.shape[1]),
        cost=term.weight * np.array([1.0, *[1 / share] * excess]),
        x_rows=flat,
        rows=-np.hstack([np.ones((n, 1)), np.eye(n)[:, :excess]]),
        low=np.array([least, *[0.0] * excess]),
        high=np.array([most, *[most - least] * excess]),
    )


def _spread(losses: Table, interactions: Table) -> Table:
    """All losses as those of pairs, (classes, pairs, widths^2): each single has a share in each."""
    first, second = np.array(list(itertools.combinations(range(losses.shape[1]), 2))).T
    share = losses / (losses.shape[1] - 1)
    tables = interactions + share[:, first, :, None] + share[:, second, None, :]
    return np.asarray(tables.reshape(*tables.shape[:2], -1))


def _behind(binaries: int, block: _Block) -> _Block:
    """The block of the products, as one of the binaries and the products after them."""
    before = np.zeros((len(block.x_rows), binaries))
    return replace(
        block,
        x_cost=np.concatenate([np.zeros(binaries), block.x_cost]),
        x_rows=np.hstack([before, block.x_rows]),
    )


def _products(groups: int, widths: int) -> optimize.LinearConstraint:
    """Over a width of one group, the products with each width of another sum to it; both ways."""
    pairs = list(itertools.combinations(range(groups), 2))
    one, each = np.ones((1, widths)), np.eye(widths)
    sums = np.concatenate([np.kron(each, one), np.kron(one, each)])  # (2 widths, widths^2)
    rows = np.zeros((len(pairs), 2 * widths, groups, widths))
    for number, pair in enumerate(pairs):
        rows[number, :widths, pair[0]] = rows[number, widths:, pair[1]] = -each
    found = np.hstack([rows.reshape(-1, groups * widths), np.kron(np.eye(len(pairs)), sums)])
    return optimize.LinearConstraint(found, 0, 0)


def _one_width_a_group(groups: int, widths: int) -> optimize.LinearConstraint:
    return optimize.LinearConstraint(np.kron(np.eye(groups), np.ones(widths)), 1, 1)


def _limit(constraint: Constraint) -> optimize.LinearConstraint:
    rows = constraint.rows.reshape(len(constraint.rows), -1)
    scale = np.abs(rows).max() or 1.0
    return optimize.LinearConstraint(rows / scale, -np.inf, constraint.limit / scale)


def _solve(
    binaries: int, blocks: Sequence[_Block], on_x: Sequence[optimize.LinearConstraint]
) -> optimize.OptimizeResult:
    """Put the blocks side by side behind the binaries, and solve."""
    own = sum(len(block.cost) for block in blocks)
    chosen = len(blocks[0].x_cost)  # the binaries, and their products if there are any
    rows = np.hstack(
        [
            np.vstack([np.zeros((0, chosen)), *(block.x_rows for block in blocks)]),
            linalg.block_diag(np.zeros((0, 0)), *(block.rows for block in blocks)),
        ]
    )
    x_cost = sum((block.x_cost for block in blocks), np.zeros(chosen))
    padded = [
        optimize.LinearConstraint(
            np.hstack([c.A, np.zeros((len(c.A), chosen + own - c.A.shape[1]))]), c.lb, c.ub
        )
        for c in on_x
    ]
    with _quiet():
        return optimize.milp(
            SHARPEN * np.concatenate([x_cost, *(block.cost for block in blocks)]),
            integrality=np.repeat([1, 0], [binaries, chosen - binaries + own]),
            bounds=optimize.Bounds(
                np.concatenate([np.zeros(chosen), *(block.low for block in blocks)]),
                np.concatenate([np.ones(chosen), *(block.high for block in blocks)]),
            ),
            constraints=[*padded, optimize.LinearConstraint(rows, -np.inf, 0)],
            # without presolve, but for products: it took as long as it saved
            options={"mip_rel_gap": 0, "presolve": chosen > binaries},
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
