"""The summary of the curve, the area under it, and outcomes from full logits."""

import numpy as np
import pytest
import xarray as xr

from ltqlib.errors import InputError
from ltqlib.statistics import (
    area_under_curve,
    at_best,
    curve_summary,
    estimate,
    estimate_each,
    head_tail_curve,
    logit_adjustment,
    outcomes_of,
)
from ltqlib.statistics.summary import MEASURES


@pytest.fixture
def labelled(logits, outcomes) -> xr.DataArray:
    """The logits that ``outcomes`` are made of."""
    dims = ("seed", "bits", "image", "class")
    return xr.DataArray(logits[0], {n: outcomes[n] for n in ("bits", "label", "half")}, dims)


def test_the_summary_has_every_measure_of_every_model(outcomes):
    found = curve_summary(outcomes)
    assert found.wide().columns.tolist() == list(MEASURES)
    assert found.wide().index.tolist() == [32, 4]
    best = estimate(at_best(outcomes), by="norm")
    expected = best.loc[(4, "norm")].tolist()
    np.testing.assert_allclose(found.loc[(4, "norm at best point")].tolist(), expected)
    assert found.loc[32]["value"].tolist()[1:] == pytest.approx([0, 0, 0])


def test_the_summary_of_one_model(outcomes):
    one = curve_summary(outcomes.sel(bits=4), outcomes.sel(bits=32, drop=True))
    assert one.index.tolist() == list(MEASURES)
    np.testing.assert_allclose(one, curve_summary(outcomes).loc[4])


def test_what_the_tail_loses_beyond_the_head_at_best_points(outcomes):
    found = curve_summary(outcomes).loc[(4, "tail lost beyond head at best point"), "value"]
    right = at_best(outcomes).groupby("group").mean()  # all classes have as many images
    lost = (right.sel(bits=32) - right.sel(bits=4)).mean("seed")
    assert found == pytest.approx(100 * float(lost.sel(group="tail") - lost.sel(group="head")))


def test_of_one_seed_the_uneven_loss_has_no_interval(outcomes):
    found = curve_summary(outcomes.isel(seed=[0]))
    rows = found.loc[4][["value", "low", "high", "p"]].notna()
    assert rows.loc["norm lost at best point"].all()
    assert rows.loc["tail lost beyond head at best point"].tolist() == [True, False, False, False]
    assert found.note().endswith("no interval is valid where one seed was evaluated")
    assert "no interval" not in curve_summary(outcomes).note()


def test_an_offset_alone_is_no_uneven_loss_at_best_points(outcomes):
    """A model that is moved along its curve loses the tail as it is, and nothing at its best."""
    moved = outcomes.sel(bits=[32, 32]).assign_coords(bits=[32, 4]).copy(deep=True)
    moved["margin"][{"bits": 1}] -= 1.5
    head = moved["margin"] < 0
    moved["right"] = xr.where(head, moved["best_head"], moved["best_tail"]) == moved["label"]
    plain = estimate(moved["right"].astype(float), by=("tail", "head"))["value"]
    assert plain.loc[32].item() - plain.loc[4].item() > 5
    assert curve_summary(moved).loc[4]["value"].tolist()[1:] == pytest.approx([0, 0, 0])


def test_the_area_is_that_under_the_drawn_curve(outcomes):
    curve = head_tail_curve(outcomes, np.linspace(-12, 12, 6001))
    found = estimate(area_under_curve(outcomes), by="norm")["value"]
    for place, bits in enumerate((32, 4)):
        areas = [
            -np.trapezoid(c["tail"] / 100, c["head"])
            for _, c in curve.isel(bits=place).groupby("seed", squeeze=False)
            for c in [c.squeeze()]
        ]
        assert found.loc[bits].item() == pytest.approx(np.mean(areas), abs=0.02)


def test_the_area_is_the_share_of_pairs_that_some_offset_makes_right(outcomes):
    one = outcomes.isel(seed=0, bits=1)
    head = ((one["group"] == "head") & (one["best_head"] == one["label"])).to_numpy()
    tail = ((one["group"] == "tail") & (one["best_tail"] == one["label"])).to_numpy()
    margin = one["margin"].to_numpy()
    pairs = (margin[tail][:, None] > margin[head]).sum() / (160 * 240)
    found = estimate(area_under_curve(one), by="norm")
    assert found["value"].item() == pytest.approx(100 * pairs)


def test_margins_that_tie_count_half(outcomes):
    one = outcomes.isel(seed=0, bits=0).copy()
    one["margin"] = one["margin"] * 0
    head = float((one["best_head"] == one["label"])[one["group"] == "head"].mean())
    tail = float((one["best_tail"] == one["label"])[one["group"] == "tail"].mean())
    found = estimate(area_under_curve(one), by="norm")
    assert found["value"].item() == pytest.approx(50 * head * tail)


def test_outcomes_of_logits_are_those_of_the_engine(labelled, outcomes):
    found = outcomes_of(labelled, tail=range(4, 10))
    for name in ("predicted", "right", "best_head", "best_tail"):
        assert (found[name] == outcomes[name]).all()
    np.testing.assert_allclose(found["margin"], outcomes["margin"], rtol=1e-6)
    assert (found["group"] == outcomes["group"]).all()
    xr.testing.assert_equal(found, outcomes_of(labelled.assign_coords(group=outcomes["group"])))


def test_any_two_groups_and_offsets(labelled, logits):
    found = outcomes_of(labelled, tail=[0, 9], offsets=np.arange(10) / 10)
    expected = (logits[0] + np.arange(10) / 10).argmax(-1)
    assert (found["predicted"] == expected).all()
    assert set(np.unique(found["best_tail"])) == {0, 9}
    assert set(found["group"].values[found["label"] == 0]) == {"tail"}


def test_logit_adjustment_takes_the_prior_off(labelled, logits):
    counts = 5000 * 0.01 ** (np.arange(10) / 9)
    right = logit_adjustment(labelled, counts, [0, 1.5])
    expected = (logits[0] - 1.5 * np.log(counts)).argmax(-1) == logits[1]
    assert (right.sel(tau=1.5) == expected).all()
    three = {"many": [0, 1, 2], "medium": [3, 4, 5, 6], "few": [7, 8, 9]}
    curve = estimate(right, by=three)["value"].unstack()
    assert (curve.xs(1.5, level="tau")["few"] > curve.xs(0, level="tau")["few"]).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda z: outcomes_of(z, tail=[]), "some of the classes"),
        (outcomes_of, "coordinate group on image"),
        (lambda z: outcomes_of(z.rename(image="row"), tail=[1]), "dimensions image and class"),
        (lambda z: outcomes_of(z.drop_vars("label"), tail=[1]), "coordinate label"),
        (lambda z: logit_adjustment(z, np.zeros(10)), "counts must be above 0"),
    ],
)
def test_bad_input_is_named(labelled, call, message):
    with pytest.raises(InputError, match=message):
        call(labelled)


def test_several_outcomes_in_one_table() -> None:
    labels = ("image", np.repeat([0, 1], 20))
    right = xr.DataArray(np.tile([1.0, 0.0, 1.0, 1.0], 10), {"label": labels}, "image")
    table = estimate_each({"a": right, "b": 1 - right}, ["model"], by="norm")
    assert table.loc[("a", "norm"), "value"] == pytest.approx(75.0)
    assert table.loc[("b", "norm"), "value"] == pytest.approx(25.0)
    assert "40 test images" in table.note()
