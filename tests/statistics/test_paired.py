"""McNemar, Holm, class means, seeds alone, Spearman: against SciPy, scikit-learn, definitions."""

import math

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import recall_score

from ltqlib.errors import InputError
from ltqlib.statistics import class_means, estimate, holm, mcnemar, over_seeds
from ltqlib.statistics.paired import rank_correlation


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_mcnemar_is_the_binomial_test_of_the_discordant_images(pairs):
    first, second = np.array(pairs).T
    found = mcnemar(first, second)
    ours, theirs = int((first > second).sum()), int((second > first).sum())
    assert (found.first_only, found.second_only) == (ours, theirs)
    expected = stats.binomtest(ours, ours + theirs).pvalue if ours + theirs else 1
    assert found.p_value == pytest.approx(expected)


def test_mcnemar_takes_many_models_at_once(outcomes):
    right = outcomes["right"].transpose("bits", "seed", "image").to_numpy()
    found = mcnemar(right[0], right[1])
    assert found.p_value.shape == (3,)
    assert found.p_value[1] == pytest.approx(mcnemar(right[0, 1], right[1, 1]).p_value)
    with pytest.raises(InputError, match="the same images"):
        mcnemar(right[0], right[1, :, 1:])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_rejects_what_the_step_down_procedure_rejects(p_values):
    """Holm (1979): go up from the smallest p; stop at the first above level / (tests left)."""
    adjusted = holm(p_values)
    for level in (0.01, 0.05, 0.3):
        rejected, left = set(), len(p_values)
        for index in np.argsort(p_values, kind="stable"):
            if p_values[index] > level / left:
                break
            rejected.add(int(index))
            left -= 1
        found = set(np.flatnonzero(adjusted <= level).tolist())
        borderline = set(np.flatnonzero(np.abs(adjusted - level) < 1e-12).tolist())
        assert found ^ rejected <= borderline


def test_holm_leaves_what_was_not_tested():
    found = holm([0.01, math.nan, 0.04])
    assert found[[0, 2]].tolist() == pytest.approx([0.02, 0.04])
    assert math.isnan(found[1])


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=50))
def test_class_means_are_recall(pairs):
    predicted, labels = np.array(pairs).T
    right = xr.DataArray(predicted == labels, {"label": ("image", labels)}, "image")
    present = np.unique(labels)
    expected = recall_score(labels, predicted, labels=present, average=None)
    found = class_means(right)
    np.testing.assert_allclose(found, expected)
    assert found["class"].values.tolist() == present.tolist()


def test_class_means_keep_the_other_dimensions(outcomes):
    found = class_means(outcomes["right"])
    assert set(found.dims) == {"seed", "bits", "class"}
    each = estimate(outcomes["right"], by="class")["value"].unstack()
    np.testing.assert_allclose(
        100 * found.mean("seed").transpose("bits", "class"), each.loc[[32, 4]]
    )
    with pytest.raises(InputError, match="dimension image"):
        class_means(found)


def test_over_seeds_is_the_t_test():
    values = np.random.default_rng(0).normal(1, 1, (4, 3))
    labelled = xr.DataArray(values, {"metric": list("abc")}, ("seed", "metric"))
    found = over_seeds(labelled)
    for place, name in enumerate("abc"):
        test = stats.ttest_1samp(values[:, place], 0)
        interval = test.confidence_interval()
        row = found.loc[(name, "mean")]
        assert row[["value", "low", "high", "p"]].tolist() == pytest.approx(
            [values[:, place].mean(), interval.low, interval.high, test.pvalue]
        )
    assert found.note() == "Points; 95 % intervals over 4 seeds"
    told = over_seeds(labelled.assign_attrs(unit="Exponent")).note()
    assert told == "Exponent; 95 % intervals over 4 seeds"


def test_over_seeds_knows_missing_single_and_equal_seeds():
    values = xr.DataArray(
        [[1.0, 1, 5, np.nan], [2, np.nan, 5, np.nan], [4, np.nan, 5, np.nan]],
        {"metric": list("abcd")},
        ("seed", "metric"),
    )
    found = over_seeds(values)
    assert found["seeds"].tolist() == [3, 1, 3, 0]
    assert found["value"].tolist() == pytest.approx([7 / 3, 1, 5, math.nan], nan_ok=True)
    assert found["low"].isna().tolist() == [False, True, False, True]
    assert found.loc[("c", "mean"), ["low", "high", "p"]].tolist() == [5, 5, 0]
    assert "no interval is valid where one seed was run" in found.note()
    with pytest.raises(InputError, match="dimension seed"):
        over_seeds(values.isel(seed=0))


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=3, max_size=20))
def test_a_rank_correlation_is_the_correlation_of_the_ranks(pairs):
    first, second = np.array(pairs).T
    found = float(rank_correlation(first, second))
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert math.isnan(found)
    else:
        assert found == pytest.approx(stats.spearmanr(first, second).statistic)
