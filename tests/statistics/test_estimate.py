"""Estimates of labelled arrays: the same numbers as crossed_interval, and the table."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from gaussian_networks import class_weights

from ltqlib.errors import InputError
from ltqlib.statistics import Estimates, crossed_interval, estimate
from ltqlib.statistics.estimate import cell

COLUMNS = ["value", "low", "high", "p", "sd", "seeds"]


@pytest.fixture
def right(outcomes) -> xr.DataArray:
    return outcomes["right"].astype(float)


def test_rows_are_crossed_intervals_of_each_group(right):
    found = estimate(right)
    assert list(found.columns) == COLUMNS
    assert found.index.names == ["bits", "group"]
    labels = right["label"].to_numpy()
    groups = {"norm": range(10), "head": range(4), "tail": range(4, 10)}
    for bits in (32, 4):
        for name, members in groups.items():
            array = right.sel(bits=bits).to_numpy()
            expected = crossed_interval(array, labels, class_weights(10, members))
            row = found.loc[(bits, name)]
            assert row[COLUMNS[:4]].tolist() == pytest.approx(expected[:4])
            assert (row["sd"], row["seeds"]) == (pytest.approx(expected.sd_seeds), 3)


def test_the_order_of_dimensions_does_not_matter(right):
    pd.testing.assert_frame_equal(
        estimate(right), estimate(right.transpose("image", "bits", "seed"))
    )


def test_without_seed_the_interval_is_over_images(right):
    one = estimate(right.isel(seed=0, drop=True))
    assert (one["seeds"] == 1).all()
    assert one["sd"].isna().all()
    pd.testing.assert_frame_equal(one, estimate(right.isel(seed=[0])))


def test_a_difference_of_groups_and_groups_of_ones_own(right):
    gap = estimate(right, by=("tail", "head"))
    assert gap.index.get_level_values("group").unique().tolist() == ["tail - head"]
    groups = estimate(right)["value"].unstack()
    assert gap["value"].tolist() == pytest.approx((groups["tail"] - groups["head"]).loc[[32, 4]])
    own = estimate(right, by={"first": [0, 1], "last": [9]})
    each = estimate(right, by="class")["value"]
    assert own.loc[(4, "first"), "value"] == pytest.approx(each.loc[4, [0, 1]].mean())
    assert own.loc[(4, "last"), "value"] == pytest.approx(each.loc[4, 9])


def test_classes_have_their_names_where_the_attributes_tell(right):
    named = right.assign_attrs(classes=[f"c{i}" for i in range(10)])
    assert estimate(named, by="class").index[0] == (32, "c0")


def test_a_group_is_a_mean_of_classes_not_of_images(right):
    few = right.isel(image=np.flatnonzero((right["label"] != 9) | (np.arange(400) < 40)))
    each = estimate(few, by="class")["value"].unstack()
    assert estimate(few)["value"].unstack()["tail"].tolist() == pytest.approx(
        each[range(4, 10)].mean(axis=1)
    )


def test_a_seed_that_was_not_measured_is_left_out(right):
    partial = right.copy()
    partial.loc[{"seed": 1, "bits": 4}] = np.nan
    found = estimate(partial)
    assert found["seeds"].unstack()["norm"].to_dict() == {32: 3, 4: 2}
    expected = estimate(right.sel(seed=[0, 2], bits=4))
    np.testing.assert_allclose(found.loc[4], expected)
    assert "2 to 3 seeds" in found._repr_html_()


def test_nothing_measured_is_an_empty_cell(right):
    found = estimate(right.where(right["bits"] == 32))
    assert found.loc[4, ["value", "low", "high", "p"]].isna().all(axis=None)
    assert found.loc[4, "seeds"].eq(0).all()
    assert found.wide().loc[4].tolist() == ["", "", ""]


def test_a_number_is_rounded_alike_whoever_holds_it():
    """NumPy's round gives 68.6 here, Python's 68.7: a table and its text must not differ."""
    assert cell(np.float64(68.65), np.nan, np.nan) == cell(68.65, np.nan, np.nan) == "68.7"


def test_images_that_no_seed_has_are_left_out(right):
    judge = right["half"] == "judge"
    np.testing.assert_allclose(
        estimate(right.where(judge)), estimate(right.isel(image=judge.to_numpy()))
    )


def test_a_class_with_one_image_has_a_value_and_no_interval(right):
    one = right.isel(image=np.flatnonzero((right["label"] != 9) | (np.arange(400) == 9)))
    found = estimate(one)
    assert found["value"].notna().all()
    missing = found[["low", "high", "p"]].isna().all(axis=1).unstack()
    assert missing.loc[4].to_dict() == {"head": False, "tail": True, "norm": True}
    assert "no interval is valid where a class has a single test image" in found._repr_html_()
    assert "[" not in found.wide().loc[4, "tail"]


def test_the_table_has_a_row_a_combination_and_a_column_a_group(right):
    found = estimate(right)
    wide = found.wide()
    assert wide.columns.tolist() == ["norm", "head", "tail"]
    assert wide.index.tolist() == [32, 4]
    value, low, high = found.loc[(4, "tail"), ["value", "low", "high"]]
    assert wide.loc[4, "tail"] == f"{value:.1f}\u00a0[{low:.1f},\u00a0{high:.1f}]"
    shown = found._repr_html_()
    assert wide.loc[4, "tail"] in shown
    assert "95 % intervals over 3 seeds and 400 test images" in shown


def test_slices_and_queries_are_still_estimates(right):
    found = estimate(xr.concat([right, right], pd.Index(["baseline", "crt"], name="model")))
    for part, columns in [
        (found.query("bits == 4 and group == 'tail'"), ["tail"]),
        (found.loc["crt"], ["norm", "head", "tail"]),
        (found[found["value"] > 0], ["norm", "head", "tail"]),
        (found.reset_index(), ["norm", "head", "tail"]),
        (found.xs("tail", level="group"), ["estimate"]),
        (found.loc[("crt", 4)], ["norm", "head", "tail"]),
    ]:
        assert isinstance(part, Estimates)
        assert part.wide().columns.tolist() == columns
        assert "95 % intervals over 3 seeds" in part._repr_html_()
    assert "<table" in found[["value"]]._repr_html_()
    assert isinstance(found["value"], pd.Series)


def test_many_classes_go_down_the_page(right):
    assert estimate(right, by="class").wide().shape == (10, 2)
    assert estimate(right.sel(bits=4), by="class").wide().shape == (10, 1)


def test_minus_signs_and_zero_are_printed_well(right):
    same = estimate(right - right)
    assert set(same.wide().to_numpy().ravel()) == {"0.0\u00a0[0.0,\u00a00.0]"}
    assert "\u2212" in estimate(right.sel(bits=4) - right.sel(bits=32)).wide().loc["", "norm"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda v: estimate(v.mean("image")), "needs the dimension image"),
        (lambda v: estimate(v.to_numpy()), "takes a DataArray"),
        (lambda v: estimate(v.drop_vars("label")), "coordinate label on image"),
        (lambda v: estimate(v.drop_vars("group")), "coordinate group on image"),
        (lambda v: estimate(v, by="animal"), "by='animal' is unknown"),
        (lambda v: estimate(v, by=("tail", "few")), "group 'few' is not among"),
        (lambda v: estimate(v, by={"none": []}), "'none' is empty"),
        (lambda v: estimate(v, by={"more": [10]}), "class 10 has no test image"),
        (lambda v: estimate(v, level=95), "between 0 and 1"),
        (lambda v: estimate(v.isel(image=[])), "no values"),
        (
            lambda v: estimate(v.where((v["seed"] > 0) | (v["half"] == "judge"))),
            "lacks images that another seed has",
        ),
        (
            lambda v: estimate(v.assign_coords(group=v["half"])),
            "a class lies in two groups",
        ),
    ],
)
def test_bad_input_is_named(right, call, message):
    with pytest.raises(InputError, match=message):
        call(right)


def test_statistics_are_light_to_import():
    code = "import sys, ltqlib.statistics; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
