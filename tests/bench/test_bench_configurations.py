"""LTQ-Bench: what is drawn."""

import dataclasses
from collections import Counter

import numpy as np
import pytest
from scipy import stats

from ltqlib.bench import PLAN, draw
from ltqlib.bench.configurations import tilted
from ltqlib.errors import InputError

NAMES = [f"L{number}" for number in range(1, 17)]


@pytest.fixture(scope="module")
def drawn():
    """The published configurations."""
    return draw(NAMES)


def rows_of(drawn) -> list[tuple[int, ...]]:
    return [tuple(row) for row in drawn.values.tolist()]


def test_no_configuration_is_there_twice(drawn) -> None:
    assert drawn.dims == ("configuration", "layer")
    assert len(set(rows_of(drawn))) == len(drawn)
    assert Counter(drawn.family.values.tolist()) == {"one-layer": 1 + 16 * 5, "random": 480}
    assert set(np.unique(drawn)) == {3, 4, 5, 6, 8, 32}


def test_the_same_are_drawn_at_every_call_and_others_with_another_seed(drawn) -> None:
    assert draw(NAMES).identical(drawn)
    assert not np.array_equal(draw(NAMES, dataclasses.replace(PLAN, seed=1)), drawn)


def test_a_cluster_is_one_prefix_and_a_prefix_one_cluster(drawn) -> None:
    some = drawn[drawn.family.values == "random"]
    clusters = some.cluster.values.tolist()
    pairs = {(c, row[:7]) for c, row in zip(clusters, rows_of(some), strict=True)}
    assert len(pairs) == len(set(clusters)) == len({r[:7] for r in rows_of(some)}) == 40
    assert set(Counter(clusters).values()) == {12}
    assert len({row[:10] for row in rows_of(some)}) == 120
    others = drawn.cluster[drawn.family.values == "one-layer"].values.tolist()
    assert len(set(others)) == len(others)
    assert not set(others) & set(clusters)


def test_random_configurations_cover_four_to_six_bits(drawn) -> None:
    rows = drawn.values[drawn.family.values == "random"]
    low, high = np.percentile(rows.mean(1), [2, 98])
    assert low < 4.2
    assert high > 6.2


def test_every_layer_is_changed_alone(drawn) -> None:
    rows = set(rows_of(drawn))
    assert (32,) * 16 in rows
    for bits in PLAN.widths:
        for layer in range(16):
            assert (*(32,) * layer, bits, *(32,) * (15 - layer)) in rows


@pytest.mark.parametrize("mean", [3.2, 4.5, 5.2, 7.4])
def test_tilted_widths_have_the_mean_and_no_distribution_more_entropy(mean: float) -> None:
    found = tilted(PLAN.widths, mean)
    assert found @ np.array(PLAN.widths) == pytest.approx(mean)
    # moves that keep sum and mean: entropy falls in either direction
    for move in ([1, -2, 1, 0, 0], [0, 1, -2, 1, 0], [0, 0, 2, -3, 1]):
        for step in (1e-4, -1e-4):
            assert stats.entropy(found + step * np.array(move)) < stats.entropy(found)


def test_a_network_that_is_too_short_and_a_plan_without_end_are_refused() -> None:
    with pytest.raises(InputError, match="behind layer 10, the network has 10"):
        draw(NAMES[:10])
    with pytest.raises(InputError, match="not ascending"):
        dataclasses.replace(PLAN, cuts=(7, 7))
    for change in ({"branches": (65, 2)}, {"widths": (4, 6), "prefixes": 65}):
        with pytest.raises(InputError, match="ask for fewer"):
            dataclasses.replace(PLAN, **change)
