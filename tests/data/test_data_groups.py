"""Groups of classes: by rank, by natural counts, by shots, and the reader's own."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ltqlib.data import head_and_tail, majority_and_rest, make_groups, shot_groups
from ltqlib.errors import InputError

COUNTS = st.lists(st.integers(1, 50), min_size=2, max_size=9)
ANIMALS = ("cat", "dog", "owl", "3")


@pytest.mark.parametrize(
    ("order", "head", "tail"),
    [
        pytest.param((), (0, 1, 2, 3), (4, 5, 6, 7, 8, 9), id="label-order"),
        pytest.param(tuple(range(9, -1, -1)), (6, 7, 8, 9), (0, 1, 2, 3, 4, 5), id="reversed"),
    ],
)
def test_head_is_ranks_0_to_3_and_tail_the_rest(order, head, tail):
    assert head_and_tail(10, order) == {"head": head, "tail": tail}


@given(st.integers(2, 1_000))
def test_neither_head_nor_tail_is_empty(classes):
    groups = head_and_tail(classes)
    assert groups["head"] + groups["tail"] == tuple(range(classes))
    assert all(groups.values())


@given(COUNTS)
def test_the_head_of_natural_counts_holds_half_with_as_few_classes_as_can(counts):
    groups = majority_and_rest(counts)
    head, tail = groups["head"], groups["tail"]
    assert sorted(head + tail) == list(range(len(counts)))
    assert tail
    held = sum(counts[label] for label in head)
    assert 2 * held >= sum(counts)
    assert min(counts[label] for label in head) >= max(counts[label] for label in tail)
    smaller = combinations(counts, len(head) - 1)  # brute force: no smaller head would do
    assert all(2 * sum(chosen) < sum(counts) for chosen in smaller)


@given(st.lists(st.integers(1, 200), min_size=2, max_size=30))
def test_shot_groups_are_those_of_the_papers(counts):
    groups = shot_groups(counts)
    assert sorted(label for labels in groups.values() for label in labels) == list(
        range(len(counts))
    )
    for name, labels in groups.items():
        assert labels
        for label in labels:
            n = counts[label]
            assert name == ("many" if n > 100 else "few" if n < 20 else "medium")


def test_a_shot_group_without_a_class_is_left_out():
    assert shot_groups([101, 100, 20, 5_000]) == {"many": (0, 3), "medium": (1, 2)}


@pytest.mark.parametrize(
    ("asked", "groups"),
    [
        ({"rare": [3, 1], "often": (0, 2)}, {"rare": (1, 3), "often": (0, 2)}),
        ({"birds": ["owl"]}, {"birds": (2,), "other": (0, 1, 3)}),
        ({"label 3 has the name 3": ["3"]}, {"label 3 has the name 3": (3,), "other": (0, 1, 2)}),
        ({"arrays": np.array([0, 1])}, {"arrays": (0, 1), "other": (2, 3)}),
        ({"a": {0}, "other": [1, 2, 3]}, {"a": (0,), "other": (1, 2, 3)}),
    ],
)
def test_the_readers_groups(asked, groups):
    assert make_groups(asked, ANIMALS, (1, 1, 1, 1)) == groups


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("heads", "'heads' are unknown: use 'head-tail', 'many-medium-few'"),
        ({}, "are unknown"),
        (None, "None are unknown"),
        ([0, 1], "are unknown"),
        ({"rare": []}, "'rare' has no class"),
        ({"rare": [4]}, "names 4, which is no class: use labels from 0 to 3"),
        ({"rare": [-1]}, "names -1, which is no class"),
        ({"rare": [1.0]}, "names 1.0, which is no class"),
        ({"rare": [True]}, "names True, which is no class"),
        ({"rare": ["cow"]}, "names 'cow', which is no class"),
        ({"rare": "cat"}, "give a list of classes"),
        ({"rare": 1}, "give a list of classes"),
        ({"rare": [1], "often": [1]}, "'dog' is in group 'rare' and in 'often'"),
        ({"rare": [1, "dog"]}, "'dog' is in group 'rare' and in 'rare'"),
        ({"norm": [1]}, "cannot be called 'norm'"),
        ({"": [1]}, "cannot be called ''"),
        ({3: [1]}, "cannot be called 3"),
        ({"other": [1]}, "'other' is kept for the classes that no group names"),
    ],
)
def test_groups_that_make_no_sense_are_refused(asked, says):
    with pytest.raises(InputError) as caught:
        make_groups(asked, ANIMALS, (1, 1, 1, 1))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
