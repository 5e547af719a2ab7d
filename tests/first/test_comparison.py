"""Statistics of the comparison: over seeds, the worst class, and the words of the target."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from ltqlib.first import comparison


def test_the_interval_over_seeds_is_that_of_the_t_test() -> None:
    values = np.array([1.0, 2.5, -0.5, 3.0, 1.5])
    found = comparison.over_seeds(values)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    np.testing.assert_allclose(found, [values.mean(), expected.low, expected.high])


def test_one_seed_has_no_interval() -> None:
    value, low, high = comparison.over_seeds(np.array([2.0]))
    assert value == 2.0
    assert math.isnan(low)
    assert math.isnan(high)
    assert comparison.in_words((2.0, low, high)) == "+2.0"


def test_the_worst_class_is_taken_seed_by_seed() -> None:
    replicates: Any = SimpleNamespace(
        first=SimpleNamespace(labels=np.array([0, 0, 1, 1])), groups={"norm": [0, 1]}
    )
    outcomes = np.array([[1.0, 1, 0, 1], [0, 0, 1, 1]])
    np.testing.assert_allclose(comparison.worst_class(replicates, outcomes), [50, 0])


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ((-0.5, -0.9, -0.1), "reached"),
        ((-0.5, -1.5, 0.5), "reached on average only"),
        ((-0.5, math.nan, math.nan), "reached by the one seed"),
        ((-1.75, -2.0, -1.5), "not reached: 0.8 short"),
    ],
    ids=["whole interval", "mean", "one seed", "short"],
)
def test_the_target_is_judged_by_the_whole_interval(
    found: comparison.Interval, expected: str
) -> None:
    assert comparison.verdict(found, -1.0) == expected
