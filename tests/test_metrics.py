"""Metrics against scikit-learn, SciPy, brute force and simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import recall_score

from ltqlib import metrics
from ltqlib.errors import InputError

GENERATOR = np.random.default_rng(0)
LABELS = np.repeat(np.arange(5), 80)
FIRST = np.where(GENERATOR.random(400) < 0.8, LABELS, (LABELS + 1) % 5)
SECOND = np.where(GENERATOR.random(400) < 0.7, FIRST, GENERATOR.integers(0, 5, 400))


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


def test_interaction_is_the_mean_change_of_one_model_beyond_the_other():
    before, after = (FIRST, SECOND), (SECOND[::-1], FIRST)
    right = [[(p == LABELS).astype(float) for p in pair] for pair in (before, after)]
    step = 100 * ((right[1][1] - right[0][1]) - (right[1][0] - right[0][0])).reshape(5, 80)
    reach = stats.norm.ppf(0.975) * np.sqrt((step.var(axis=1, ddof=1) / 80).sum()) / 5
    found = metrics.interaction(before, after, LABELS, range(5))
    assert found == pytest.approx((step.mean(), step.mean() - reach, step.mean() + reach))


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=3, max_size=20))
def test_spearman_is_the_correlation_of_the_ranks(pairs):
    first, second = zip(*pairs, strict=True)
    found = metrics.spearman(first, second)
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert math.isnan(found)
    else:
        ranks = stats.rankdata(first), stats.rankdata(second)
        assert found == pytest.approx(np.corrcoef(*ranks)[0, 1])


def test_a_class_with_one_image_has_no_interval():
    labels = np.array([0, 0, 1])
    with pytest.raises(InputError, match="fewer than two test images"):
        metrics.paired_difference(labels, labels, labels, [0, 1])


def test_a_group_beyond_the_classes_seen_is_nan():
    labels = np.array([0, 1])
    assert np.isnan(metrics.group_accuracy(labels, labels, {"rare": [2]})["rare"])
