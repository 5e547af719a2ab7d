"""Allocations without an optimizer: the post's ranking of layers, and a greedy descent."""

from collections.abc import Mapping, Sequence

import numpy as np

from ltqlib.first.errors import InputError
from ltqlib.first.mpq.costs import Budget, average_weight_bits
from ltqlib.first.mpq.objective import Objective
from ltqlib.first.mpq.problem import InfeasibleError, Sensitivity, merge, units


def rank_by_drop(accuracy: Mapping[str, float], reference: float) -> list[str]:
    """Layers from most to least sensitive: ``Sen_n = Acc(A) - Acc(C_n)``, the post's figure 11.

    ``accuracy[layer]`` is the accuracy left with only that layer quantized, in percent; equal drops
    keep the order of the layers.
    """
    return sorted(accuracy, key=lambda name: accuracy[name] - reference)


def split_by_budget(
    ranking: Sequence[str],
    parameters: Mapping[str, int],
    budget: float,
    high: int = 6,
    low: int = 4,
) -> dict[str, int]:
    """The post's allocation: the most sensitive layers get ``high`` bits, the rest ``low``.

    The ranking is walked from its sensitive end; a layer gets ``high`` bits if the average weight
    bits stay within ``budget``, and is passed over if not.

    Raises:
        InputError: the ranking does not name every layer once, or the budget is below ``low``.
    """
    if sorted(ranking) != sorted(parameters):
        raise InputError("the ranking does not name every layer exactly once")
    if budget < low:
        raise InputError(
            f"a budget of {budget:g} average weight bits is below the smallest width {low}: "
            f"give at least {low}"
        )
    widths = dict.fromkeys(parameters, low)
    for name in ranking:
        widths[name] = high
        if average_weight_bits(widths, parameters) > budget + 1e-9:
            widths[name] = low
    return widths


def random_rankings(layers: Sequence[str], count: int, seed: int = 0) -> list[list[str]]:
    """``count`` random rankings: the null that a driven allocation must beat."""
    generator = np.random.default_rng(seed)
    return [[layers[i] for i in generator.permutation(len(layers))] for _ in range(count)]


def greedy(
    sensitivity: Sensitivity,
    budget: Budget,
    objective: Objective,
    tied: Sequence[Sequence[str]] = (),
) -> dict[str, int]:
    """The descent of AIMET's automatic mixed precision, with any objective in place of accuracy.

    All layers start at the largest width. While the budget does not hold, the one layer is lowered
    to the one width that raises the objective least per cost saved; a layer is never raised again.

    Returns:
        ``{layer: bits}``; no better than :func:`ltqlib.first.mpq.allocate` with the same arguments.

    Raises:
        InfeasibleError: the budget is below what the descent can reach.
    """
    budget.check_matches(sensitivity.layers, sensitivity.widths)
    groups = units(sensitivity.layers, tied)
    losses, costs = merge(sensitivity.losses, groups), merge(budget.costs, groups)
    every = np.arange(len(groups))
    choice = np.full(len(groups), int(np.argmax(sensitivity.widths)))
    while (spent := costs[every, choice].sum()) > budget.limit + 1e-9 * np.abs(costs).max():
        saved = costs[every, choice][:, None] - costs
        if not (saved > 0).any():
            raise InfeasibleError({budget.name: budget.limit}, {budget.name: float(spent)})
        now = losses[:, every, choice].sum(1)
        after = now[:, None, None] + losses - losses[:, every, choice][:, :, None]
        rise = np.apply_along_axis(objective.value, 0, after) - objective.value(now)
        price = np.where(saved > 0, rise / np.where(saved > 0, saved, 1), np.inf)
        unit, width = np.unravel_index(np.argmin(price), price.shape)
        choice[unit] = width
    return sensitivity.named(choice, groups)
