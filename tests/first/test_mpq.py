"""Mixed precision: costs by brute force, rankings, and allocations within a budget."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ltqlib.first import mpq
from ltqlib.first.errors import InputError

LAYERS = [f"L{number}" for number in range(1, 7)]
PARAMETERS = {"L1": 27, "L2": 144, "L3": 300, "L4": 5, "L5": 64, "L6": 10}
WIDTHS = {"L1": 8, "L2": 4, "L3": 2, "L4": 6, "L5": 5, "L6": 3}

SIZES = st.lists(st.integers(1, 1_000), min_size=1, max_size=16).map(
    lambda sizes: {f"L{number}": size for number, size in enumerate(sizes, start=1)}
)


@st.composite
def budgets(draw):
    """(parameters, ranking, budget) with a budget from all-low to above all-high."""
    parameters = draw(SIZES)
    ranking = draw(st.permutations(list(parameters)))
    return parameters, ranking, draw(st.floats(4, 7))


def test_size_and_average_count_every_weight():
    weight_by_weight = [WIDTHS[name] for name in LAYERS for _ in range(PARAMETERS[name])]
    average = mpq.average_weight_bits(WIDTHS, PARAMETERS)
    assert average == pytest.approx(np.mean(weight_by_weight))
    assert mpq.model_size(WIDTHS, PARAMETERS) == sum(weight_by_weight) / 8


def test_bops_are_bit_products_of_every_multiplication():
    act_bits = dict(zip(LAYERS, (8, 8, 4, 4, 32, 2), strict=True))
    expected = sum(
        WIDTHS[name] * act_bits[name] for name in LAYERS for _ in range(PARAMETERS[name])
    )
    assert mpq.bops(WIDTHS, act_bits, PARAMETERS) == expected


def test_the_largest_drop_ranks_first_and_ties_keep_their_order():
    accuracy = {"L1": 80.0, "L2": 75.5, "L3": 80.0, "L4": 90.0, "L5": 75.5}
    assert mpq.rank_by_drop(accuracy, reference=85.0) == ["L2", "L5", "L1", "L3", "L4"]


@given(budgets())
def test_the_budget_is_kept_and_no_layer_more_would_fit(case):
    parameters, ranking, budget = case
    widths = mpq.split_by_budget(ranking, parameters, budget)
    assert list(widths) == list(parameters)
    assert set(widths.values()) <= {4, 6}
    assert mpq.average_weight_bits(widths, parameters) <= budget + 1e-9
    for name in [name for name in ranking if widths[name] == 4]:
        assert mpq.average_weight_bits({**widths, name: 6}, parameters) > budget


@given(budgets())
def test_the_most_sensitive_layer_is_served_first(case):
    parameters, ranking, budget = case
    widths = mpq.split_by_budget(ranking, parameters, budget)
    alone = {**dict.fromkeys(parameters, 4), ranking[0]: 6}
    fits = mpq.average_weight_bits(alone, parameters) <= budget + 1e-9
    assert widths[ranking[0]] == (6 if fits else 4)


@given(budgets())
def test_the_ends_of_the_budget_are_all_low_and_all_high(case):
    parameters, ranking, _ = case
    assert set(mpq.split_by_budget(ranking, parameters, 6).values()) == {6}
    assert set(mpq.split_by_budget(ranking, parameters, 4).values()) == {4}
    assert set(mpq.split_by_budget(ranking, parameters, 2.0, high=8, low=2).values()) == {2}


@pytest.mark.parametrize(
    ("ranking", "budget", "says"),
    [
        pytest.param(LAYERS[:-1], 5, "does not name every layer", id="layer-left-out"),
        pytest.param([*LAYERS, "L1"], 5, "does not name every layer", id="layer-twice"),
        pytest.param([*LAYERS[:-1], "L7"], 5, "does not name every layer", id="other-layer"),
        pytest.param(LAYERS, 3.9, "3.9 average.*below the smallest width 4", id="budget"),
    ],
)
def test_a_bad_ranking_or_budget_is_refused(ranking, budget, says):
    with pytest.raises(InputError, match=says):
        mpq.split_by_budget(ranking, PARAMETERS, budget)


def test_random_rankings_are_permutations_and_come_again():
    rankings = mpq.random_rankings(LAYERS, 20, seed=3)
    assert len(rankings) == 20
    assert all(sorted(ranking) == LAYERS for ranking in rankings)
    assert len(set(map(tuple, rankings))) > 10
    assert rankings == mpq.random_rankings(LAYERS, 20, seed=3)
    assert rankings != mpq.random_rankings(LAYERS, 20, seed=4)
