"""Counts of long tails, nested subsets, and the two halves of the test images."""

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ltqlib.data import CLASS_ORDERS, half_mask, long_tailed_counts, nested_subset
from ltqlib.errors import InputError

LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 40))
FACTORS = st.floats(0.03, 1)
ORDERS = st.permutations(range(10)).map(tuple)


@pytest.mark.parametrize(
    ("factor", "total", "rarest"),
    [("0.1", 20_431, 500), ("0.02", 13_996, 100), ("0.01", 12_406, 50)],
    ids=["IF 0.1", "IF 0.02", "IF 0.01"],
)
def test_counts_are_those_of_cifar10_lt(factor: str, total: int, rarest: int) -> None:
    counts = long_tailed_counts(5_000, 10, float(factor))
    exact = tuple(int(5_000 * Decimal(factor) ** (Decimal(rank) / 9)) for rank in range(10))
    assert counts == exact
    assert (sum(counts), counts[0], counts[-1]) == (total, 5_000, rarest)


@given(st.integers(1, 10_000), st.integers(2, 400), st.floats(1e-6, 1))
def test_counts_fall_from_n_max_to_the_rarest_class(n_max: int, classes: int, factor: float):
    if int(n_max * factor) < 1:
        with pytest.raises(InputError, match="leaves the rarest class without an image"):
            long_tailed_counts(n_max, classes, factor)
        return
    counts = long_tailed_counts(n_max, classes, factor)
    assert len(counts) == classes
    assert (counts[0], counts[-1]) == (n_max, int(n_max * factor))
    assert sorted(counts, reverse=True) == list(counts)


@given(ORDERS, FACTORS)
def test_class_order_moves_the_counts(order, factor):
    plain = long_tailed_counts(40, 10, factor)
    moved = long_tailed_counts(40, 10, factor, order)
    assert tuple(moved[label] for label in order) == plain


@given(FACTORS, FACTORS, ORDERS, st.integers(0, 5))
def test_a_smaller_factor_keeps_a_subset(one, other, order, seed):
    small, large = (
        nested_subset(LABELS, long_tailed_counts(40, 10, factor, order), seed)
        for factor in sorted((one, other))
    )
    assert set(small) <= set(large)


@given(st.lists(st.integers(1, 40), min_size=10, max_size=10), st.integers(0, 5))
def test_a_subset_has_the_counts_asked_for(counts, seed):
    chosen = nested_subset(LABELS, counts, seed)
    assert np.bincount(LABELS[chosen], minlength=10).tolist() == counts
    assert (np.diff(chosen) > 0).all()


@given(st.lists(st.integers(0, 6), min_size=1, max_size=60).map(np.array))
def test_the_half_that_chooses_is_half_of_each_class_and_fixed(labels):
    mask = half_mask(labels)
    for label in np.unique(labels):
        assert mask[labels == label].sum() == (labels == label).sum() // 2
    np.random.seed(1)  # noqa: NPY002 - the global generator must not matter
    assert np.array_equal(mask, half_mask(labels))


def test_the_half_that_chooses_is_drawn_at_random():
    mask = half_mask(np.repeat(np.arange(10), 1_000))
    first_halves = mask.reshape(10, 2, 500)[:, 0].mean(1)
    assert np.all(np.abs(first_halves - 0.5) < 0.1)
    assert len({row.tobytes() for row in mask.reshape(10, 1_000)}) == 10


def test_a_rarest_class_without_an_image_is_refused():
    with pytest.raises(InputError, match=r"0.001 leaves the rarest class without.*least 0.01$"):
        long_tailed_counts(100, 10, 0.001)


def test_a_class_order_of_another_length_is_refused():
    with pytest.raises(InputError, match="names 3 classes, the data has 10"):
        long_tailed_counts(100, 10, 0.1, (2, 1, 0))


def test_more_images_than_a_class_has_are_refused():
    with pytest.raises(InputError, match="class 1 has 40 images, 41 are needed"):
        nested_subset(LABELS, [40, 41])


@pytest.mark.parametrize("name", CLASS_ORDERS)
def test_class_orders_are_what_they_say(name):
    drawn = {
        "label": (),
        "reversed": tuple(range(9, -1, -1)),
        "random-1": tuple(np.random.default_rng(1).permutation(10)),
        "random-2": tuple(np.random.default_rng(2).permutation(10)),
    }
    assert CLASS_ORDERS[name] == drawn[name]
