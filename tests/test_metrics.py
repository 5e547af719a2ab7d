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


@given(st.integers(1, 2_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval_is_that_of_scipy(case):
    successes, total = case
    expected = stats.binomtest(successes, total).proportion_ci(method="wilson")
    found = metrics.wilson_interval(successes, total)
    assert found == pytest.approx((100 * expected.low, 100 * expected.high), abs=1e-9)


def test_wilson_interval_of_nothing_is_everything():
    assert metrics.wilson_interval(0, 0) == (0.0, 100.0)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 5), st.integers(0, 5))
def test_mcnemar_counts_coin_tosses(gained, lost, both, neither):
    right_1 = np.repeat([0, 1, 1, 0], [gained, lost, both, neither])
    right_2 = np.repeat([1, 0, 1, 0], [gained, lost, both, neither])
    n, fewer = gained + lost, min(gained, lost)
    tail = sum(math.comb(n, k) for k in range(fewer + 1)) / 2**n
    found = metrics.mcnemar(right_1, right_2, np.ones_like(right_1))
    assert found == pytest.approx(min(1.0, 2 * tail))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.001, 0.999))
def test_holm_rejects_what_the_step_down_procedure_rejects(p_values, alpha):
    adjusted = metrics.holm(p_values)
    rejected = set()
    for position, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if (len(p_values) - position) * p_values[index] > alpha:
            break
        rejected.add(index)
    assert {index for index, p in enumerate(adjusted) if p <= alpha} == rejected


def test_holm_known_values_in_the_given_order():
    assert metrics.holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert metrics.holm([0.9, 0.8]) == [1.0, 1.0]


def test_paired_difference_is_the_difference_of_accuracies():
    one, other = (metrics.per_class_accuracy(p, LABELS, 5) for p in (FIRST, SECOND))
    difference, low, high = metrics.paired_difference(FIRST, SECOND, LABELS, [1, 3])
    assert difference == pytest.approx((other - one)[[1, 3]].mean())
    assert low < difference < high


def test_paired_difference_changes_its_sign_with_the_order():
    difference, low, high = metrics.paired_difference(FIRST, SECOND, LABELS, range(5))
    swapped = metrics.paired_difference(SECOND, FIRST, LABELS, range(5))
    assert swapped == pytest.approx((-difference, -high, -low))
    assert metrics.paired_difference(FIRST, FIRST, LABELS, range(5)) == (0, 0, 0)


def test_paired_difference_agrees_with_a_stratified_bootstrap():
    step = ((SECOND == LABELS).astype(float) - (FIRST == LABELS)).reshape(5, 80)
    drawn = np.random.default_rng(1).integers(0, 80, (4_000, 5, 80))
    means = 100 * step[np.arange(5)[:, None], drawn].mean((1, 2))
    _, low, high = metrics.paired_difference(FIRST, SECOND, LABELS, range(5))
    assert (low, high) == pytest.approx(np.percentile(means, [2.5, 97.5]), abs=0.5)


def simulated_pairs(count, images=100):
    """Pairs of predictions for four classes with other chances to be right, and the truth."""
    # chances of (both right, only the first, only the second, none right), class by class
    chances = np.array([[60, 20, 5, 15], [50, 10, 10, 30], [30, 25, 15, 30], [70, 4, 16, 10]]) / 100
    generator, labels = np.random.default_rng(2), np.repeat(np.arange(4), images)
    truth = 100 * (chances[:, 2] - chances[:, 1])
    for _ in range(count):
        outcome = np.concatenate([generator.choice(4, images, p=p) for p in chances])
        first = np.where(np.isin(outcome, (0, 1)), labels, 9)
        second = np.where(np.isin(outcome, (0, 2)), labels, 9)
        yield first, second, labels, truth


def test_95_percent_intervals_hold_the_truth_in_95_percent_of_simulations():
    held = {"difference": 0, "difference of differences": 0}
    for first, second, labels, truth in simulated_pairs(2_500):
        _, low, high = metrics.paired_difference(first, second, labels, range(4))
        held["difference"] += low <= truth.mean() <= high
        _, low, high = metrics.difference_of_differences(first, second, labels, [2, 3], [0, 1])
        beyond = truth[2:].mean() - truth[:2].mean()
        held["difference of differences"] += low <= beyond <= high
    assert all(0.93 <= count / 2_500 <= 0.97 for count in held.values()), held


def test_difference_of_differences_subtracts_and_adds_variances():
    plus, minus = [3, 4], [0, 1, 2]
    found, low, high = metrics.difference_of_differences(FIRST, SECOND, LABELS, plus, minus)
    step = 100 * ((SECOND == LABELS).astype(float) - (FIRST == LABELS)).reshape(5, 80)
    error = step.var(axis=1, ddof=1) / 80
    variance = error[plus].sum() / len(plus) ** 2 + error[minus].sum() / len(minus) ** 2
    expected = step[plus].mean() - step[minus].mean()
    reach = stats.norm.ppf(0.975) * np.sqrt(variance)
    assert (found, low, high) == pytest.approx((expected, expected - reach, expected + reach))


def test_gap_is_head_minus_tail_with_both_errors():
    head, tail = [0, 1, 2], [3, 4]
    right = 100 * (FIRST == LABELS).reshape(5, 80)
    error = right.var(axis=1, ddof=1) / 80
    variance = error[head].sum() / len(head) ** 2 + error[tail].sum() / len(tail) ** 2
    expected = right[head].mean() - right[tail].mean()
    reach = stats.norm.ppf(0.975) * np.sqrt(variance)
    found = metrics.gap_interval(FIRST, LABELS, head, tail)
    assert found == pytest.approx((expected, expected - reach, expected + reach))


def test_interaction_is_the_mean_change_of_one_model_beyond_the_other():
    before, after = (FIRST, SECOND), (SECOND[::-1], FIRST)
    right = [[(p == LABELS).astype(float) for p in pair] for pair in (before, after)]
    step = 100 * ((right[1][1] - right[0][1]) - (right[1][0] - right[0][0])).reshape(5, 80)
    reach = stats.norm.ppf(0.975) * np.sqrt((step.var(axis=1, ddof=1) / 80).sum()) / 5
    found = metrics.interaction(before, after, LABELS, range(5))
    assert found == pytest.approx((step.mean(), step.mean() - reach, step.mean() + reach))


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [(0.1, 2, "above"), (-2, -0.1, "below"), (-1, 1, "inside"), (0, 1, "inside")],
)
def test_verdict_says_where_the_interval_lies(low, high, word):
    assert metrics.verdict(low, high) == word


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
