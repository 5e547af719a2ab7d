"""The head-tail curve against brute force on full logits."""

import numpy as np
import pytest
import xarray as xr
from gaussian_networks import CLASSES, HEAD

from ltqlib.errors import InputError
from ltqlib.statistics import (
    at_best,
    at_equal_head,
    equal_head,
    head_tail_curve,
    tail_at_equal_head,
)


def shifted(logits: np.ndarray, offset: float) -> np.ndarray:
    """Predictions with the offset on the tail's logits."""
    moved = logits.copy()
    moved[..., HEAD:] += offset
    return moved.argmax(-1)


def accuracies(predicted: np.ndarray, labels: np.ndarray) -> tuple[float, float, float]:
    """Head, tail and norm, percent."""
    each = np.array([100 * (predicted[labels == c] == c).mean() for c in range(CLASSES)])
    return each[:HEAD].mean(), each[HEAD:].mean(), each.mean()


def test_the_curve_is_that_of_shifted_logits(outcomes, logits):
    offsets = np.linspace(-4, 4, 33)
    curve = head_tail_curve(outcomes, offsets)
    for seed, bits, place in [(0, 0, 3), (1, 1, 16), (2, 0, 30), (2, 1, 20)]:
        expected = accuracies(shifted(logits[0][seed, bits], offsets[place]), logits[1])
        found = [float(curve[name][seed, bits, place]) for name in ("head", "tail", "norm")]
        assert found == pytest.approx(expected)


def test_the_offsets_that_are_found_span_the_curve(outcomes):
    curve = head_tail_curve(outcomes)
    assert float(curve["tail"].isel(offset=0).max()) < 2
    assert float(curve["head"].isel(offset=-1).max()) < 2
    assert float(curve.sel(offset=0)["norm"][0, 0]) == pytest.approx(
        100 * float(outcomes["right"][0, 0].mean())
    )


def brute(
    logits: np.ndarray, reference: np.ndarray, labels: np.ndarray, grid: np.ndarray
) -> tuple[float, np.ndarray]:
    """Head accuracy of the reference at the mean of its near-best offsets; that of the model."""
    norms = np.array([accuracies(shifted(reference, d), labels)[2] for d in grid])
    best = grid[norms >= norms.max() - 0.5 - 1e-9].mean()
    heads = np.array([accuracies(shifted(logits, d), labels)[0] for d in grid])
    return accuracies(shifted(reference, best), labels)[0], heads


def test_offsets_are_chosen_on_the_other_half_as_a_fine_grid_would(outcomes, logits):
    values, labels = logits
    found, grid = equal_head(outcomes), np.linspace(-5, 5, 1001)
    for judged in ("choose", "judge"):
        chosen = (outcomes["half"] != judged).to_numpy()
        for seed in range(3):
            target, heads = brute(
                values[seed, 1][chosen], values[seed, 0][chosen], labels[chosen], grid
            )
            one = found.sel(judged=judged).isel(seed=seed)
            assert float(one["target"]) == pytest.approx(target, abs=2.6)  # two images
            offset = float(one["offset"].sel(bits=4))
            mine = accuracies(shifted(values[seed, 1][chosen], offset), labels[chosen])[0]
            nearest = np.abs(heads - float(one["target"])).min()  # the grid may miss a step
            assert abs(mine - float(one["target"])) <= nearest + 1e-9
            predicted = shifted(values[seed, 1][~chosen], offset)
            right = found["right"].sel(bits=4).isel(seed=seed, image=~chosen)
            assert right.to_numpy().tolist() == (predicted == labels[~chosen]).tolist()


def test_at_best_is_the_reference_at_equal_head(outcomes):
    """Both take the near-best offset; equal head then takes the middle of its step."""
    best, equal = at_best(outcomes).sel(bits=32), at_equal_head(outcomes).sel(bits=32)
    assert float((best != equal).mean()) < 0.02


def test_terms_are_the_tail_and_the_head_accuracy_exchanged_for_it(outcomes):
    found, terms = equal_head(outcomes), tail_at_equal_head(outcomes)
    right = found["right"].astype(float)
    head, tail = (
        right.isel(image=(outcomes["group"] == name).to_numpy()).mean("image")
        for name in ("head", "tail")
    )
    expected = tail + found["slope"] * (head - head.sel(bits=32))
    np.testing.assert_allclose(terms.mean("image"), expected)
    np.testing.assert_allclose(terms.sel(bits=32).mean("image"), tail.sel(bits=32))


def test_the_slope_is_that_of_the_curve(outcomes, logits):
    found = equal_head(outcomes)
    for bits, place in ((32, 0), (4, 1)):
        one = found.sel(bits=bits).isel(seed=0)
        curve = np.array(
            [
                accuracies(shifted(logits[0][0, place], d), logits[1])
                for d in np.linspace(-4, 4, 2001)
            ]
        )
        target = float(found["target"].isel(seed=0).mean())
        ends = [np.argmin(np.abs(curve[:, 0] - target - step)) for step in (-3, 3)]
        (head, tail, _) = curve[ends[1]] - curve[ends[0]]
        assert float(one["slope"]) == pytest.approx(-tail / head, rel=0.25)


def test_the_same_model_loses_nothing(outcomes):
    both = xr.concat([outcomes.sel(bits=[32]), outcomes.sel(bits=[32])], "bits", join="override")
    right = at_equal_head(both.assign_coords(bits=[32, 4]))
    assert (right.sel(bits=32) == right.sel(bits=4)).all()


def test_a_reference_of_its_own_is_as_one_inside(outcomes):
    found = at_equal_head(outcomes.sel(bits=[4]), outcomes.sel(bits=32, drop=True))
    xr.testing.assert_equal(found, at_equal_head(outcomes).sel(bits=[4]))


def test_out_of_reach_is_nan_for_every_seed_of_the_row(outcomes):
    bad = outcomes.copy(deep=True)
    bad["best_head"].loc[{"seed": 1, "bits": 4}] = 0  # head accuracy stays at a quarter
    found = equal_head(bad)
    assert found["right"].sel(bits=4).isnull().all()
    assert found["right"].sel(bits=32).notnull().all()
    assert found["reached"].sel(bits=4).values.tolist() == [True, False, True]


def test_a_seed_that_is_not_there_stays_away(outcomes):
    missing = outcomes.astype(float)
    missing["margin"].loc[{"seed": 2}] = np.nan
    found = at_equal_head(missing)
    assert found.sel(seed=2).isnull().all()
    xr.testing.assert_equal(found.isel(seed=[0, 1]), at_equal_head(outcomes).isel(seed=[0, 1]))
    assert head_tail_curve(missing, [0.0])["tail"].sel(seed=2).isnull().all()


def test_margins_of_few_digits_tie_and_are_still_cut_between(outcomes):
    coarse = outcomes.assign(margin=outcomes["margin"].round(1))
    offset = equal_head(coarse)["offset"]
    steps = 10 * offset.to_numpy()
    assert np.abs(steps - np.round(steps)).max() > 0.3  # between two margins, not on one


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda o: at_equal_head(o.drop_vars("margin")), "have no margin"),
        (lambda o: at_equal_head(o.drop_vars("half")), "no coordinate half"),
        (lambda o: at_equal_head(o.drop_vars("group")), "no coordinate group"),
        (lambda o: at_equal_head(o.isel(image=o["half"] == "judge")), "judged on the other"),
        (lambda o: at_equal_head(o, {"bits": 8}), "no bits = 8"),
        (lambda o: at_equal_head(o, o.isel(image=slice(10))), "on the images of the outcomes"),
        (
            lambda o: head_tail_curve(o.assign_coords(group=("image", ["few"] * o.sizes["image"]))),
            "group 'head' is not among",
        ),
    ],
)
def test_bad_input_is_named(outcomes, call, message):
    with pytest.raises(InputError, match=message):
        call(outcomes)
