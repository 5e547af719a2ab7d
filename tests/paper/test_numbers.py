"""Numbers of the prose: names that a page can write down, texts as a reader expects them."""

import numpy as np
import pytest
import xarray as xr

import ltqlib as ltq
from ltqlib.paper.numbers import words


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3, "3"),
        (12_406, "12,406"),
        (-2, "\u22122"),
        (np.int64(7), "7"),
        (1.25, "1.2"),
        (-0.04, "0.0"),
        (np.float64(-3.17), "\u22123.2"),
        ("inside the noise", "inside the noise"),
        (True, "True"),
    ],
)
def test_plain_values(value: object, text: str) -> None:
    assert dict(words("x", value)) == {"x": text}


def test_keys_of_mappings_follow_the_name() -> None:
    value = {"baseline": {0.01: 3.14159, 32: 2.0}, "logit adjusted": 1.5}
    assert dict(words("post", value)) == {
        "post-baseline-0.01": "3.1",
        "post-baseline-32": "2.0",
        "post-logit-adjusted": "1.5",
    }


def test_estimates_come_with_and_without_their_interval(outcomes: xr.Dataset) -> None:
    table = ltq.estimate(outcomes.right, by="group")
    found = dict(words("accuracy", table))
    assert len(found) == 2 * len(table)
    value, low, high = table.loc[("cRT", 4, "tail"), ["value", "low", "high"]]
    assert found["accuracy-cRT-4-tail"] == f"{value:.1f}"
    interval = f"{value:.1f}\u00a0[{low:.1f},\u00a0{high:.1f}]"
    assert found["accuracy-cRT-4-tail-interval"] == interval


def test_contrasts_have_one_name_for_the_pair(outcomes: xr.Dataset) -> None:
    table = ltq.estimate(outcomes.right.sel(model="cRT", bits=4), by=("tail", "head"))
    names = list(dict(words("gap", table)))
    assert names == ["gap-tail---head", "gap-tail---head-interval"]


def test_a_network_that_cannot_be_compared_has_no_number(outcomes: xr.Dataset) -> None:
    table = ltq.estimate(outcomes.right.sel(model="cRT", bits=4), by="group")
    table.loc["tail", "value"] = np.nan
    names = list(dict(words("equal", table)))
    assert names == ["equal-norm", "equal-norm-interval", "equal-head", "equal-head-interval"]
    assert list(words("equal", {"tail": np.nan, "head": 1.0})) == [("equal-head", "1.0")]


def test_correlations_have_two_digits(outcomes: xr.Dataset) -> None:
    table = ltq.estimate(outcomes.right, by="norm")
    table.attrs["unit"] = "Spearman's correlation"
    text = next(iter(dict(words("rho", table)).values()))
    assert text == f"{table['value'].iloc[0]:.2f}"
