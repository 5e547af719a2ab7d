"""The table of outcomes, and what a proxy may see, against counts one by one."""

import itertools

import numpy as np
import pytest
import xarray as xr
from bench_tables import BITS, CLASSES, LAYERS, NAMES, drawn, made, outcomes_of

from ltqlib.allocation import curve_losses
from ltqlib.bench import (
    TARGETS,
    added,
    group_mean,
    lost,
    one_layer,
    seen,
    tabulate,
    with_metrics,
)
from ltqlib.bench.table import EQUAL_HEAD, HALVES
from ltqlib.errors import InputError
from ltqlib.statistics import tail_at_equal_head

FEW = {"prefixes": 30, "branches": (2, 2)}


@pytest.fixture(scope="module")
def evaluated() -> tuple[xr.Dataset, xr.DataArray]:
    widths = drawn(**FEW)
    names = [f"c{number}" for number in range(len(widths))]
    return outcomes_of(widths).assign_coords(configuration=names, seed=0), widths


@pytest.fixture(scope="module")
def table(evaluated) -> xr.Dataset:
    return tabulate(*evaluated)


def test_counts_are_those_of_single_configurations(evaluated, table) -> None:
    outcomes, _ = evaluated
    assert set(table.dims) >= {"half", "class", "configuration", "layer", "bits"}
    assert "image" not in table.dims
    for number, half in itertools.product((0, 7, len(outcomes.right) - 1), HALVES):
        one = outcomes.isel(configuration=number, image=outcomes.half.values == half)
        cell = table.sel(half=half).isel(configuration=number)
        for label in range(CLASSES):
            images = one.label.values == label
            assert int(cell.correct[label]) == int(one.right.values[images].sum())
            assert int(table.images.sel(half=half)[label]) == images.sum()
        assert int(cell.called_tail) == int((one.predicted.values >= 4).sum())


def test_true_losses_are_differences_of_mean_class_accuracies(evaluated, table) -> None:
    outcomes, widths = evaluated
    floating = int(np.flatnonzero((widths == 32).all("layer"))[0])
    for half in HALVES:
        images = outcomes.isel(image=outcomes.half.values == half)
        each = 100 * images.right.groupby("label").mean("image")
        for group, classes in (("norm", range(10)), ("head", range(4)), ("tail", range(4, 10))):
            mean = each.sel(label=list(classes)).mean("label")
            expected = mean[floating] - mean
            np.testing.assert_allclose(lost(table, group, half), expected, atol=1e-9)


def test_the_tail_at_equal_head_is_that_of_the_statistics(evaluated, table) -> None:
    outcomes, widths = evaluated
    floating = int(np.flatnonzero((widths == 32).all("layer"))[0])
    few = outcomes.isel(configuration=[floating, 3, 40, 100, 200])
    each = tail_at_equal_head(few, outcomes.isel(configuration=floating))
    for half in HALVES:
        there = each.isel(image=outcomes.half.values == half)
        mean = 100 * there.groupby("label").mean("image", skipna=False).mean("label", skipna=False)
        expected = (mean[0] - mean.fillna(0)).values
        found = lost(table, EQUAL_HEAD, half)[[floating, 3, 40, 100, 200]]
        np.testing.assert_allclose(found, expected, atol=1e-4)
    assert float(abs(table.tail_at_equal_head).max()) <= 130
    assert float(lost(table, EQUAL_HEAD, "judge").mean()) > 0


def test_a_configuration_that_cannot_reach_the_head_keeps_nothing_of_the_tail(evaluated) -> None:
    outcomes, widths = evaluated
    number = int(np.flatnonzero(widths.mean("layer") < 4)[0])
    head = outcomes.best_head.where(np.arange(len(outcomes.right))[:, None] != number, 9)
    found = tabulate(outcomes.assign(best_head=head), widths)
    assert np.isnan(found.tail_at_equal_head[:, number]).all()
    floating = int(np.flatnonzero((widths == 32).all("layer"))[0])
    for half in HALVES:
        kept = found.tail_at_equal_head.sel(half=half)[floating]
        assert float(lost(found, EQUAL_HEAD, half)[number]) == pytest.approx(float(kept))


def test_a_proxy_sees_each_layer_alone_on_one_half_only(evaluated, table) -> None:
    outcomes, widths = evaluated
    view = seen(table, "choose")
    assert view.bits.values.tolist() == [32, *BITS]
    place = one_layer(widths)
    half = outcomes.isel(image=outcomes.half.values == "choose")
    alone = half.isel(configuration=place)
    for layer, bits in itertools.product((0, 7, 15), (8, 4, 3)):
        row = [32] * LAYERS
        row[layer] = bits
        (number,) = np.flatnonzero((widths.values == row).all(1))
        assert int(place.sel(layer=NAMES[layer], bits=bits)) == number
        at = {"layer": NAMES[layer], "bits": bits}
        np.testing.assert_allclose(group_mean(view, view.lost, "tail").sel(at), lost(
            table, "tail", "choose")[number], atol=1e-9)  # fmt: skip
        called = 100 * (half.predicted >= 4).mean("image")
        floating = int(place.sel(bits=32)[0])
        expected = float(called[number] - called[floating])
        assert float(view.called_tail.sel(at)) == pytest.approx(expected)
    np.testing.assert_allclose(view.curve, curve_losses(alone))
    assert float(abs(view.lost.sel(bits=32)).max()) == 0
    # nothing of the other half
    other = outcomes.right.where(outcomes.half == "choose", False)
    changed = tabulate(outcomes.assign(right=other), widths)
    assert seen(changed, "choose").drop_vars("widths").equals(view.drop_vars("widths"))
    hidden = {"correct", "tail_at_equal_head"}
    assert not hidden & set(view)


def test_random_configurations_are_seen_with_all_metrics() -> None:
    bench = made(0)
    view, random = seen(bench, "judge"), bench.family.values == "random"
    np.testing.assert_array_equal(view.widths, bench.widths[random])
    assert {"kl", "sqnr", "logit_gap", "lost", "curve"} <= set(view)
    assert view.called_tail.dims == ("layer", "bits")  # the table's own, not the metric
    assert "accuracy" not in view


def test_a_sum_over_layers_is_what_a_loop_adds_up() -> None:
    view = seen(made(0), "judge")
    array = np.random.default_rng(0).standard_normal((LAYERS, len(BITS)))
    values = xr.DataArray(array, {"layer": NAMES, "bits": list(BITS)}, ["layer", "bits"])
    found = added(view, values)
    for number in (0, 100, 250):
        row = view.widths.values[number].tolist()
        expected = sum(array[k, BITS.index(bits)] for k, bits in enumerate(row) if bits != 32)
        assert float(found[number]) == pytest.approx(expected)
    with pytest.raises(InputError, match="has 3 bits"):
        added(view, values.sel(bits=[8, 6, 5, 4]))


def test_the_table_is_small_and_opens_again(tmp_path, table) -> None:
    table.to_netcdf(tmp_path / "table.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "table.nc", engine="h5netcdf") as again:
        for target in TARGETS:
            np.testing.assert_allclose(lost(again, target, "judge"), lost(table, target, "judge"))
        xr.testing.assert_allclose(seen(again, "choose"), seen(table, "choose"))


def test_what_is_missing_is_named(evaluated, table) -> None:
    outcomes, widths = evaluated
    for says, given, rows in (
        ("one network at a time", outcomes.drop_vars("seed").expand_dims(seed=2), widths),
        ("configurations were evaluated, widths are of 5", outcomes, widths[:5]),
        ("no image has the half choose", outcomes.drop_vars("half"), widths),
        ("no image has the group head", outcomes.isel(image=outcomes.label >= 4), widths),
        ("no macs on layer", outcomes, widths.drop_vars("macs")),
        ("lack the float model", outcomes[{"configuration": slice(8, 20)}], widths[8:20]),
        ("no margin", outcomes.drop_vars("margin"), widths),
    ):
        with pytest.raises(InputError, match=says):
            tabulate(given, rows)
    with pytest.raises(InputError, match="group 'rare': the groups are norm, head, tail"):
        lost(table, "rare", "judge")
    metrics = xr.Dataset(
        {"noise": (("half", "layer", "bits"), np.ones((2, LAYERS, 3)))},
        {"half": list(HALVES), "layer": NAMES, "bits": [8, 6, 5]},
    )
    for says, given in (("lack bits 3", metrics), ("lack half", metrics.isel(half=0))):
        with pytest.raises(InputError, match=says):
            with_metrics(table, given)
