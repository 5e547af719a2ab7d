"""Costs by brute force; limits as tables against the costs of single allocations."""

import itertools

import numpy as np
import pytest
import xarray as xr

from ltqlib.allocation import Limit, Widths, average_weight_bits, bops, model_size
from ltqlib.errors import InputError

PARAMETERS = {"conv": 27, "wide": 300, "fc": 10}
MACS = {"conv": 9_000, "wide": 1_200, "fc": 10}
ACT_BITS = {"fc": 4, "wide": 8, "conv": 8}  # another order: names count, not places
WIDTHS = (8, 4, 2)
ALLOCATIONS = [dict(zip(PARAMETERS, b, strict=True)) for b in itertools.product(WIDTHS, repeat=3)]


@pytest.mark.parametrize("widths", ALLOCATIONS[::4], ids=lambda a: "-".join(map(str, a.values())))
def test_size_and_average_count_every_weight_and_bops_every_multiplication(widths):
    weight_by_weight = [widths[name] for name, count in PARAMETERS.items() for _ in range(count)]
    assert average_weight_bits(widths, PARAMETERS) == pytest.approx(np.mean(weight_by_weight))
    assert model_size(widths, PARAMETERS) == sum(weight_by_weight) / 8
    products = [widths[n] * ACT_BITS[n] for n, count in MACS.items() for _ in range(count)]
    assert bops(widths, MACS, ACT_BITS) == sum(products)


def test_costs_of_many_allocations_are_those_of_each():
    rows = xr.DataArray(
        [list(widths.values()) for widths in ALLOCATIONS],
        {"layer": list(PARAMETERS)},
        ["configuration", "layer"],
    )
    expected = [average_weight_bits(widths, PARAMETERS) for widths in ALLOCATIONS]
    np.testing.assert_allclose(average_weight_bits(rows, PARAMETERS), expected)
    carried = rows.assign_coords(macs=("layer", list(MACS.values())))
    np.testing.assert_allclose(bops(carried), [bops(w, MACS) for w in ALLOCATIONS])
    assert bops(5, MACS) == 5 * 8 * sum(MACS.values())
    with pytest.raises(InputError, match="parameters of the layers are not known"):
        model_size(rows)


@pytest.mark.parametrize("widths", ALLOCATIONS, ids=lambda a: "-".join(map(str, a.values())))
def test_tables_agree_with_the_cost_of_every_allocation(widths):
    bits = Limit.average_weight_bits(PARAMETERS, WIDTHS, 5)
    assert bits.cost(widths) == pytest.approx(average_weight_bits(widths, PARAMETERS))
    size = Limit.model_size(PARAMETERS, WIDTHS, 100)
    assert size.cost(widths) == pytest.approx(model_size(widths, PARAMETERS))


def test_latency_adds_up_what_was_measured():
    measured = {"conv": {8: 1.5, 4: 1.0, 2: 1.25}, "fc": {8: 0.5, 4: 0.25, 2: 0.25}}
    latency = Limit("latency in ms", measured, 2)
    assert latency.cost({"fc": 4, "conv": 2}) == 1.5
    assert latency.cost({"fc": 8, "conv": 8}) == 2.0
    del measured["fc"][2]
    with pytest.raises(InputError, match="latency in ms of fc at 2 bits is not a finite number"):
        Limit("latency in ms", measured, 2)


@pytest.mark.parametrize(
    ("costs", "most", "says"),
    [
        (xr.DataArray(np.ones((2, 3)), dims=("layer", "bits")), 1.0, "of time have dimensions"),
        (xr.DataArray(np.ones(3), dims="layer"), 1.0, "dimensions layer: give layer and bits"),
        ({"conv": {8: np.nan}}, 1.0, "time of conv at 8 bits is not a finite number"),
        ({"conv": {8: 1.0}}, float("nan"), "limit of time is not a number"),
    ],
)
def test_a_bad_table_is_refused(costs, most, says):
    with pytest.raises(InputError, match=says):
        Limit("time", costs, most)


def test_activation_bits_must_cover_the_layers():
    with pytest.raises(InputError, match="different layers: fc is missing"):
        bops(8, {"conv": 9_000, "fc": 10}, {"conv": 8})


def test_widths_print_as_a_table_with_what_they_cost():
    bits = xr.DataArray(
        [[6, 4], [4, 6]],
        {"seed": [0, 1], "layer": ["conv", "fc"], "parameters": ("layer", [30, 10])},
        ["seed", "layer"],
    )
    widths = Widths.of(bits)
    np.testing.assert_allclose(widths.mean_bits, [5.5, 4.5])
    text = repr(widths)
    assert text.splitlines()[0].split() == ["layer", "conv", "fc", "mean_bits"]
    assert text.splitlines()[-1].split() == ["1", "4", "6", "4.5"]
    assert "<table" in widths._repr_html_()
    assert repr(widths.sel(seed=1)).splitlines()[-1].split() == ["bits", "4", "6", "1", "4.5"]
    assert repr(Widths.of({"conv": 6})).splitlines()[-1].split() == ["bits", "6"]
    assert "mean_bits" in repr(widths.sum("layer"))  # no layers left: as xarray prints it
    many = Widths.of({f"L{number}": 4 for number in range(1, 25)})
    assert "..." not in repr(many)
    assert "L13" in many._repr_html_()
    both = Widths.of(widths.expand_dims(driver=["norm", "tail"]))
    assert both.table().index.names == ["driver", "seed"]
    assert both.table()["mean_bits"].tolist() == [5.5, 4.5, 5.5, 4.5]
