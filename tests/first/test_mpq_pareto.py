"""The Pareto front against brute force, and the greedy descent beside the exact optimum."""

import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ltqlib.first import mpq
from ltqlib.first.errors import InputError
from ltqlib.first.mpq import Budget, InfeasibleError, Objective, Sensitivity

OBJECTIVES = [Objective.mean(), Objective.worst(), Objective.cvar(0.5) + 0.1 * Objective.mean()]


@st.composite
def problems(draw):
    """(sensitivity, budget without a limit, objective) of at most 64 allocations."""
    layers = draw(st.integers(1, 3))
    numbers = np.random.default_rng(draw(st.integers(0, 10_000)))
    names, widths = tuple(f"L{n}" for n in range(layers)), (8, 6, 4, 2)
    losses = numbers.integers(-4, 40, (3, layers, 4)) / 4
    costs = numbers.integers(1, 12, (layers, 1)) * np.array(widths, dtype=float)
    budget = Budget("size", names, widths, costs, float("inf"))
    sensitivity = Sensitivity(losses, names, widths, ("a", "b", "c"))
    return sensitivity, budget, draw(st.sampled_from(OBJECTIVES))


def outcomes(sensitivity, budget, objective):
    """(cost, objective) of every allocation, sorted."""
    every = [
        dict(zip(sensitivity.layers, bits, strict=True))
        for bits in itertools.product(sensitivity.widths, repeat=len(sensitivity.layers))
    ]
    return sorted((budget.cost(w), objective.value(sensitivity.predict(w))) for w in every)


@settings(max_examples=25)
@given(problems())
def test_the_front_is_monotone_and_nothing_dominates_it(problem):
    sensitivity, budget, objective = problem
    front = mpq.pareto_front(sensitivity, budget, objective, points=9)
    points = [(a.costs["size"], a.objective) for a in front]
    assert 1 <= len(points) <= 9
    for (cheap, high), (dear, low) in itertools.pairwise(points):
        assert cheap < dear
        assert high > low
    every = outcomes(*problem)
    for cost, value in points:
        assert value == pytest.approx(min(v for c, v in every if c <= cost), abs=1e-4)
    assert points[0][0] == every[0][0]
    assert points[-1][1] == pytest.approx(min(v for _, v in every), abs=1e-4)


def test_a_front_with_a_point_for_every_cost_is_the_whole_front():
    losses = np.array([[[0.0, 1.0, 3.0, 9.0], [0.0, 0.5, 4.0, 6.0]]])
    names, widths = ("L1", "L2"), (8, 6, 4, 2)
    costs = np.array([[2.0], [3.0]]) * np.array(widths) / 2  # whole numbers from 5 to 20
    budget = Budget("size", names, widths, costs, 20.0)
    problem = Sensitivity(losses, names, widths, ("cat",)), budget, Objective.mean()
    whole: list[tuple[float, float]] = []
    for cost, value in outcomes(*problem):
        if not whole or value < whole[-1][1]:
            whole.append((cost, value))
    found = mpq.pareto_front(*problem, points=16)
    np.testing.assert_allclose([(a.costs["size"], a.objective) for a in found], whole, atol=1e-6)


def test_the_front_keeps_the_other_limits():
    numbers = np.random.default_rng(0)
    names, widths = ("L1", "L2", "L3"), (8, 4, 2)
    sensitivity = Sensitivity(numbers.random((2, 3, 3)), names, widths, ("a", "b"))
    size = Budget("size", names, widths, np.full((3, 1), 1.0) * widths, 24.0)
    time = Budget("time", names, widths, numbers.random((3, 3)), 1.2)
    front = mpq.pareto_front(
        sensitivity, size, Objective.mean(), 20, others=[time], tied=[["L1", "L2"]]
    )
    assert len(front) > 1
    assert all(a.costs["time"] <= 1.2 and a.widths["L1"] == a.widths["L2"] for a in front)
    with pytest.raises(InputError, match="front of 1 points"):
        mpq.pareto_front(sensitivity, size, Objective.mean(), 1)
    with pytest.raises(InfeasibleError, match="loss of any class to at least"):
        mpq.pareto_front(sensitivity, size, Objective.mean(), max_class_loss=-1)


@settings(max_examples=50)
@given(problems(), st.floats(0, 1))
def test_greedy_keeps_the_budget_and_is_never_better_than_the_optimum(problem, share):
    sensitivity, budget, objective = problem
    least, most = budget.costs.min(1).sum(), budget.costs.max(1).sum()
    limited = Budget(
        "size", budget.layers, budget.widths, budget.costs, least + share * (most - least)
    )
    widths = mpq.greedy(sensitivity, limited, objective)
    assert limited.cost(widths) <= limited.limit + 1e-6
    best = mpq.allocate(sensitivity, [limited], objective).objective
    assert objective.value(sensitivity.predict(widths)) >= best - 1e-4


def test_greedy_takes_the_smallest_rise_per_cost_saved_at_every_step():
    # rise per unit saved from 8 bits: L1 1/4 then 3/6; L2 4/8 then 6/12 -> L1 to 4, then
    # from there L1 to 2 costs 2/2, L2 to 4 costs 4/8 and L2 to 2 costs 5/12
    losses = np.array([[[0.0, 1.0, 3.0], [0.0, 4.0, 5.0]]])
    names, widths = ("L1", "L2"), (8, 4, 2)
    sensitivity = Sensitivity(losses, names, widths, ("cat",))
    costs = np.array([[8.0, 4.0, 2.0], [16.0, 8.0, 4.0]])

    def descent(limit, **tied):
        budget = Budget("size", names, widths, costs, limit)
        return tuple(mpq.greedy(sensitivity, budget, Objective.mean(), **tied).values())

    assert descent(24) == (8, 8)
    assert descent(20) == (4, 8)
    assert descent(19) == (4, 2)
    assert descent(6) == (2, 2)
    assert descent(23, tied=[names]) == (4, 4)
    with pytest.raises(InfeasibleError, match="size <= 5: raise size to at least 6"):
        descent(5)


@pytest.mark.slow
def test_two_hundred_points_of_sixteen_layers_take_less_than_a_minute():
    numbers = np.random.default_rng(0)
    names, widths = tuple(f"L{n}" for n in range(16)), (8, 6, 5, 4, 3, 2)
    each = numbers.lognormal(0, 1, (1, 16, 1)) * numbers.lognormal(0, 0.5, (10, 16, 1))
    losses = each * 4.0 ** (2 - np.array(widths)) + numbers.normal(0, 0.02, (10, 16, 6))
    parameters = dict(zip(names, numbers.integers(1_000, 2_000_000, 16).tolist(), strict=True))
    sensitivity = Sensitivity(losses, names, widths, tuple(map(str, range(10))))
    bits = Budget.average_weight_bits(parameters, widths, 8)
    started = time.process_time()  # not wall time: the machine may be busy
    front = mpq.pareto_front(sensitivity, bits, Objective.worst())
    assert time.process_time() - started < 60
    assert len(front) > 50
