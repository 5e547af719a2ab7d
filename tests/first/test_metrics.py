"""Metrics against scikit-learn, SciPy, brute force and simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import recall_score

from ltqlib.first import metrics


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=50))
def test_per_class_accuracy_is_recall(pairs):
    predictions, labels = np.array(pairs).T
    expected = recall_score(
        labels, predictions, labels=range(5), average=None, zero_division=np.nan
    )
    found = metrics.per_class_accuracy(predictions, labels, 5)
    np.testing.assert_allclose(found, 100 * expected)


def test_group_accuracy_is_the_mean_over_classes_not_images():
    labels = np.array([0] * 8 + [1] * 2 + [2] * 2)
    predictions = np.array([0] * 8 + [2] * 2 + [2, 1])
    groups = {"both": [0, 1], "last": [2], "none": []}
    found = metrics.group_accuracy(predictions, labels, groups)
    assert (found["both"], found["last"]) == (50.0, 50.0)
    assert math.isnan(found["none"])


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=3, max_size=20))
def test_spearman_is_the_correlation_of_the_ranks(pairs):
    first, second = zip(*pairs, strict=True)
    found = metrics.spearman(first, second)
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert math.isnan(found)
    else:
        ranks = stats.rankdata(first), stats.rankdata(second)
        assert found == pytest.approx(np.corrcoef(*ranks)[0, 1])


def test_a_group_beyond_the_classes_seen_is_nan():
    labels = np.array([0, 1])
    assert np.isnan(metrics.group_accuracy(labels, labels, {"rare": [2]})["rare"])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_rejects_what_the_step_down_procedure_rejects(p_values):
    """Holm (1979): go up from the smallest p; stop at the first above level / (tests left)."""
    for level in (0.01, 0.05, 0.3):
        rejected, left = set(), len(p_values)
        for index in np.argsort(p_values, kind="stable"):
            if p_values[index] > level / left:
                break
            rejected.add(index)
            left -= 1
        found = {i for i, p in enumerate(metrics.holm(p_values)) if p <= level}
        borderline = {i for i, p in enumerate(metrics.holm(p_values)) if abs(p - level) < 1e-12}
        assert found ^ rejected <= borderline
