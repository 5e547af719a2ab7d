"""Objectives over classes: CVaR against its definitions, mixes, text, and what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize

from ltqlib.allocation import Objective, cvar
from ltqlib.errors import InputError

LOSSES = st.lists(st.integers(-40, 40), min_size=1, max_size=12).map(lambda x: np.array(x) / 4)
GROUPS = {"head": [0, 1], "tail": [2, 3]}
FOUR = np.array([1.0, -2.0, 5.0, 3.0])


def by_sorting(losses, twentieths):
    """Mean of the worst twentieths of the losses, each split into 20 equal parts."""
    parts = np.sort(np.repeat(losses, 20))[::-1]
    return parts[: max(twentieths * len(losses), 1)].mean()


@given(LOSSES, st.integers(0, 20))
def test_cvar_is_the_mean_of_the_worst_fraction(losses, twentieths):
    assert cvar(losses, twentieths / 20) == pytest.approx(by_sorting(losses, twentieths))


@given(LOSSES, st.floats(0.01, 1))
def test_cvar_is_the_least_value_of_rockafellar_and_uryasev(losses, fraction):
    def upper_bound(t):
        return t + np.maximum(losses - t, 0).mean() / fraction

    # convex and piecewise linear in t: the least value is at one of the losses
    assert cvar(losses, fraction) == pytest.approx(min(map(upper_bound, losses)))
    between = optimize.minimize_scalar(upper_bound, bounds=(losses.min() - 1, losses.max() + 1))
    assert between.fun >= cvar(losses, fraction) - 1e-9


@given(LOSSES)
def test_the_ends_of_cvar_are_the_worst_class_and_the_mean(losses):
    assert Objective.cvar(0).value(losses) == Objective.worst().value(losses) == losses.max()
    assert Objective.cvar(1).value(losses) == pytest.approx(Objective.mean().value(losses))
    assert Objective.mean().value(losses) == pytest.approx(losses.mean())


def test_terms_look_at_their_classes_and_mixes_add_up():
    assert Objective.group([2, 3]).value(FOUR) == 4.0
    assert Objective.worst([0, 1]).value(FOUR) == 1.0
    assert Objective.cvar(0.5, [0, 1, 3]).value(FOUR) == pytest.approx((3 + 0.5 * 1) / 1.5)
    mix = 2 * (0.5 * Objective.mean() + Objective.worst()) + Objective.group([1])
    assert mix.value(FOUR) == pytest.approx(1.75 + 10 - 2)


def test_many_allocations_are_valued_at_once():
    losses = np.random.default_rng(0).normal(size=(5, 3, 4))
    mix = Objective.cvar(0.5, [0, 2, 4]) + 0.1 * Objective.mean()
    one_by_one = np.apply_along_axis(mix.value, 0, losses)
    np.testing.assert_allclose(mix.value(losses), one_by_one)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("norm", Objective.mean()),
        ("mean", Objective.mean()),
        ("worst", Objective.worst()),
        ("cvar:0.3", Objective.cvar(0.3)),
        ("tail", Objective.group([2, 3])),
        ("0.7*norm + 0.3*tail", 0.7 * Objective.mean() + 0.3 * Objective.group([2, 3])),
        ("worst+ 1e-2 * cvar:0.5", Objective.worst() + 0.01 * Objective.cvar(0.5)),
    ],
)
def test_objectives_read_from_text(text, expected):
    assert Objective.parse(text, GROUPS) == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "median",
            r"unknown objective 'median': choose from norm, worst, cvar:FRACTION, head, tail",
        ),
        ("", "unknown objective ''"),
        ("norm + ", "unknown objective ''"),
        ("cvar", "unknown objective 'cvar'"),
        ("cvar:few", "cannot read 'cvar:few'"),
        ("half*norm", r"cannot read 'half\*norm'"),
        ("cvar:1.5", "fraction 1.5 of the classes"),
        ("cvar:nan", "fraction nan of the classes"),
        ("-1*norm", "weight of an objective is -1"),
    ],
)
def test_an_unknown_objective_is_refused(text, says):
    with pytest.raises(InputError, match=says):
        Objective.parse(text, GROUPS)


def test_classes_that_do_not_exist_are_refused():
    with pytest.raises(InputError, match="class 4, the losses have classes 0 to 3"):
        Objective.group([1, 4]).value(FOUR)
    with pytest.raises(InputError, match="without a class"):
        Objective.group([])
    with pytest.raises(InputError, match="names a class twice"):
        Objective.worst([1, 1])
    with pytest.raises(InputError, match="without a term"):
        Objective(())
