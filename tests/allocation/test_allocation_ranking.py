"""The post's ranking within limits."""

import numpy as np
import pytest
from allocation_tables import table
from hypothesis import given, settings
from hypothesis import strategies as st

from ltqlib.allocation import (
    Limit,
    Objective,
    average_weight_bits,
    rank,
    split,
)
from ltqlib.errors import InputError

LAYERS = [f"L{number}" for number in range(1, 7)]
PARAMETERS = {"L1": 27, "L2": 144, "L3": 300, "L4": 5, "L5": 64, "L6": 10}

SIZES = st.lists(st.integers(1, 1_000), min_size=1, max_size=16).map(
    lambda sizes: {f"L{number}": size for number, size in enumerate(sizes, start=1)}
)


@st.composite
def budgets(draw):
    """(parameters, ranking, limit on the average) from all-low to above all-high."""
    parameters = draw(SIZES)
    ranking = draw(st.permutations(list(parameters)))
    return parameters, ranking, draw(st.floats(4, 7))


def by_average(ranking, parameters, most, high=6, low=4):
    return split(ranking, [Limit.average_weight_bits(parameters, (high, low), most)], high, low)


def test_the_largest_loss_ranks_first_and_ties_keep_their_order():
    left = np.array([80.0, 75.5, 80.0, 90.0, 75.5])
    losses = np.stack([np.zeros(5), 85.0 - left], axis=1)[None]
    layers = [f"L{n}" for n in range(1, 6)]
    one_class = table(losses, layers, (6, 4))
    assert rank(one_class, Objective.mean(), 4) == ["L2", "L5", "L1", "L3", "L4"]
    # sums that differ in their last digit alone are ties
    assert rank(one_class + 0.1 + 0.2 - 0.3, Objective.mean(), 6) == layers


def test_the_objective_decides_the_rank():
    losses = np.zeros((3, 2, 2))
    losses[:, :, 1] = [[3.0, 4.0], [0.0, 4.0], [9.0, 0.0]]
    found = table(losses, ("a", "b"), (6, 4))
    assert rank(found, Objective.mean(), 4) == ["a", "b"]
    assert rank(found, Objective.group([0, 1]), 4) == ["b", "a"]
    assert rank(found, Objective.worst(), 4) == ["a", "b"]


@settings(max_examples=40)
@given(budgets())
def test_the_limit_is_kept_and_no_layer_more_would_fit(case):
    parameters, ranking, most = case
    widths = by_average(ranking, parameters, most)
    assert list(widths) == list(parameters)
    assert set(widths.values()) <= {4, 6}
    assert average_weight_bits(widths, parameters) <= most + 1e-8
    for name in [name for name in ranking if widths[name] == 4]:
        assert average_weight_bits({**widths, name: 6}, parameters) > most


@settings(max_examples=40)
@given(budgets())
def test_the_most_sensitive_layer_comes_first(case):
    parameters, ranking, most = case
    widths = by_average(ranking, parameters, most)
    alone = {**dict.fromkeys(parameters, 4), ranking[0]: 6}
    fits = average_weight_bits(alone, parameters) <= most + 1e-9
    assert widths[ranking[0]] == (6 if fits else 4)


@settings(max_examples=40)
@given(budgets())
def test_the_ends_of_the_limit_are_all_low_and_all_high(case):
    parameters, ranking, _ = case
    assert set(by_average(ranking, parameters, 6).values()) == {6}
    assert set(by_average(ranking, parameters, 4).values()) == {4}
    assert set(by_average(ranking, parameters, 2.0, high=8, low=2).values()) == {2}


def test_every_limit_holds():
    macs = dict(zip(LAYERS, (600, 144, 30, 500, 64, 10), strict=True))
    both = [
        Limit.average_weight_bits(PARAMETERS, (6, 4), 5),
        Limit.average_weight_bits(macs, (6, 4), 4.6),
    ]
    widths = split(LAYERS, [both[0], Limit("time", both[1].costs, 4.6)], 6, 4)
    assert average_weight_bits(widths, PARAMETERS) <= 5
    assert average_weight_bits(widths, macs) <= 4.6
    assert widths != split(LAYERS, both[:1], 6, 4) != split(LAYERS, both[1:], 6, 4)


@pytest.mark.parametrize(
    ("ranking", "most", "says"),
    [
        pytest.param(LAYERS[:-1], 5, "does not name every layer", id="layer-left-out"),
        pytest.param([*LAYERS, "L1"], 5, "does not name every layer", id="layer-twice"),
        pytest.param([*LAYERS[:-1], "L7"], 5, "does not name every layer", id="other-layer"),
        pytest.param(LAYERS, 3.9, "weight bits <= 3.9: raise .* to at least 4", id="limit"),
    ],
)
def test_a_bad_ranking_or_limit_is_refused(ranking, most, says):
    with pytest.raises(InputError, match=says):
        by_average(ranking, PARAMETERS, most)
    with pytest.raises(InputError, match="without a limit"):
        split(LAYERS, [], 6, 4)
