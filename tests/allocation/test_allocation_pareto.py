"""The Pareto front against brute force."""

import itertools
import time

import numpy as np
import pytest
from allocation_tables import limit, predicted, spent, table
from hypothesis import given, settings
from hypothesis import strategies as st

from ltqlib.allocation import InfeasibleError, Limit, Objective, pareto_front
from ltqlib.errors import InputError

OBJECTIVES = [Objective.mean(), Objective.worst(), Objective.cvar(0.5) + 0.1 * Objective.mean()]


@st.composite
def problems(draw):
    """(losses, limit at infinity, objective) of at most 64 allocations."""
    layers = draw(st.integers(1, 3))
    numbers = np.random.default_rng(draw(st.integers(0, 10_000)))
    names, bits = tuple(f"L{n}" for n in range(layers)), (8, 6, 4, 2)
    losses = table(numbers.integers(-4, 40, (3, layers, 4)) / 4, names, bits)
    costs = numbers.integers(1, 12, (layers, 1)) * np.array(bits, dtype=float)
    return losses, limit("size", names, bits, costs, np.inf), draw(st.sampled_from(OBJECTIVES))


def points_of(losses, size, objective, points):
    """(cost, objective) of the front."""
    bits = losses.bits.values.tolist()
    found = pareto_front(losses, objective, bits, cost=size, points=points)
    return list(zip(found["cost"], found["predicted"], strict=True))


def outcomes(losses, size, objective):
    """(cost, objective) of every allocation, sorted."""
    layers, bits = losses.layer.values.tolist(), losses.bits.values.tolist()
    every = [
        dict(zip(layers, chosen, strict=True))
        for chosen in itertools.product(bits, repeat=len(layers))
    ]
    return sorted((spent(size, w), float(objective.value(predicted(losses, w)))) for w in every)


@settings(max_examples=15)
@given(problems())
def test_the_front_is_monotone_and_nothing_dominates_it(problem):
    losses, size, objective = problem
    points = points_of(losses, size, objective, points=9)
    assert 1 <= len(points) <= 9
    for (small, high), (large, low) in itertools.pairwise(points):
        assert small < large
        assert high > low
    every = outcomes(*problem)
    for cost, value in points:
        assert value == pytest.approx(min(v for c, v in every if c <= cost), abs=1e-4)
    assert points[0][0] == every[0][0]
    assert points[-1][1] == pytest.approx(min(v for _, v in every), abs=1e-4)


def test_a_front_with_a_point_for_every_cost_is_the_whole_front():
    names, bits = ("L1", "L2"), (8, 6, 4, 2)
    losses = table(np.array([[[0.0, 1.0, 3.0, 9.0], [0.0, 0.5, 4.0, 6.0]]]), names, bits)
    costs = np.array([[2.0], [3.0]]) * np.array(bits) / 2  # whole numbers from 5 to 20
    problem = losses, limit("size", names, bits, costs, 20.0), Objective.mean()
    whole: list[tuple[float, float]] = []
    for cost, value in outcomes(*problem):
        if not whole or value < whole[-1][1]:
            whole.append((cost, value))
    np.testing.assert_allclose(points_of(*problem, points=16), whole, atol=1e-6)


def test_the_front_keeps_the_other_limits():
    numbers = np.random.default_rng(0)
    names, bits = ("L1", "L2", "L3"), (8, 4, 2)
    losses = table(numbers.random((2, 3, 3)), names, bits)
    size = limit("size", names, bits, np.full((3, 1), 1.0) * bits, 24.0)
    other = limit("time", names, bits, numbers.random((3, 3)), 1.2)
    more = {"others": [other], "tied": [["L1", "L2"]]}
    found = pareto_front(losses, "norm", bits, cost=size, points=20, **more)
    assert len(found) > 1
    assert (found["L1"] == found["L2"]).all()
    assert all(other.cost(row) <= 1.2 for row in found[list(names)].to_dict("records"))
    with pytest.raises(InputError, match="front of 1 points"):
        pareto_front(losses, "norm", bits, cost=size, points=1)
    with pytest.raises(InfeasibleError, match="loss of any class to at least"):
        pareto_front(losses, "norm", bits, cost=size, max_class_loss=-1)


@pytest.mark.slow
def test_twenty_points_of_sixteen_layers_take_seconds():
    numbers = np.random.default_rng(0)
    names, bits = tuple(f"L{n}" for n in range(16)), (8, 6, 5, 4, 3, 2)
    each = numbers.lognormal(0, 1, (1, 16, 1)) * numbers.lognormal(0, 0.5, (10, 16, 1))
    losses = each * 4.0 ** (2 - np.array(bits)) + numbers.normal(0, 0.02, (10, 16, 6))
    parameters = dict(zip(names, numbers.integers(1_000, 2_000_000, 16).tolist(), strict=True))
    average = Limit.average_weight_bits(parameters, bits, 8)
    started = time.process_time()  # not wall time: the machine may be busy
    found = pareto_front(table(losses, names, bits), "worst", bits, cost=average, points=20)
    assert time.process_time() - started < 6
    assert len(found) > 10
