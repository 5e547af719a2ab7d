"""The quadratic model against sums by hand, its optimum against every allocation there is."""

import itertools

import numpy as np
import pytest

from ltqlib.first.errors import InputError
from ltqlib.first.mpq import (
    Budget,
    InfeasibleError,
    Objective,
    Quadratic,
    Sensitivity,
    allocate,
    allocate_quadratic,
)

LAYERS, WIDTHS = ("a", "b", "c", "d", "e"), (6, 4, 3)
PAIRS = list(itertools.combinations(range(len(LAYERS)), 2))
EVERY = np.array(list(itertools.product(WIDTHS, repeat=len(LAYERS))))
PARAMETERS = dict(zip(LAYERS, (10, 40, 30, 15, 5), strict=True))


def model(seed: int, strength: float = 1.0) -> Quadratic:
    generator = np.random.default_rng(seed)
    shape = (4, len(LAYERS), len(WIDTHS))
    losses = generator.exponential(size=shape) * np.array([0.1, 1.0, 3.0])
    interactions = strength * generator.normal(size=(4, len(PAIRS), 3, 3))
    return Quadratic(Sensitivity(losses, LAYERS, WIDTHS, ("0", "1", "2", "3")), interactions)


def by_hand(quadratic: Quadratic, widths: np.ndarray) -> np.ndarray:
    """Sum over layers and pairs, one after another."""
    at = [WIDTHS.index(bits) for bits in widths]
    total = sum(quadratic.sensitivity.losses[:, layer, w] for layer, w in enumerate(at))
    for number, (i, j) in enumerate(PAIRS):
        total = total + quadratic.interactions[:, number, at[i], at[j]]
    return total


def test_losses_are_singles_and_pairs() -> None:
    quadratic = model(0)
    expected = [by_hand(quadratic, widths) for widths in EVERY]
    np.testing.assert_allclose(quadratic.losses(EVERY), expected)
    named = dict(zip(LAYERS, EVERY[7].tolist(), strict=True))
    np.testing.assert_allclose(quadratic.predict(named), expected[7])


@pytest.mark.parametrize("objective", ["mean", "tail", "worst + 0.01*mean", "cvar:0.5 + 0.1*mean"])
@pytest.mark.parametrize("limit", [3.2, 4.0, 4.5])
def test_nothing_within_the_budget_is_better(objective: str, limit: float) -> None:
    quadratic, wanted = model(1), Objective.parse(objective, {"tail": [2, 3]})
    budget = Budget.average_weight_bits(PARAMETERS, WIDTHS, limit)
    found = allocate_quadratic(quadratic, [budget], wanted)
    share = np.array(list(PARAMETERS.values())) / sum(PARAMETERS.values())
    kept = EVERY[EVERY @ share <= limit + 1e-9]
    values = [wanted.value(by_hand(quadratic, widths)) for widths in kept]
    assert found.objective == pytest.approx(min(values), abs=1e-6)
    assert found.gap == pytest.approx(0, abs=1e-5)
    assert found.costs["average weight bits"] <= limit + 1e-9


def test_without_interactions_it_is_the_additive_optimum() -> None:
    quadratic = model(2, strength=0.0)
    budget = Budget.average_weight_bits(PARAMETERS, WIDTHS, 4.1)
    found = allocate_quadratic(quadratic, [budget], Objective.mean())
    additive = allocate(quadratic.sensitivity, [budget], Objective.mean())
    assert found.widths == additive.widths
    assert found.objective == pytest.approx(additive.objective)


def test_a_budget_that_nothing_keeps_is_named_with_the_least_one() -> None:
    budget = Budget.average_weight_bits(PARAMETERS, WIDTHS, 2.0)
    with pytest.raises(InfeasibleError, match="average weight bits to at least 3"):
        allocate_quadratic(model(3), [budget], Objective.mean())


def test_bad_input_is_refused() -> None:
    sensitivity = model(0).sensitivity
    with pytest.raises(InputError, match="interactions have shape"):
        Quadratic(sensitivity, np.zeros((4, 3, 3, 3)))
    with pytest.raises(InputError, match="has 5 bits"):
        model(0).losses(np.full((1, 5), 5))
