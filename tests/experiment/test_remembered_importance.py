"""Metrics and the benchmark of trained networks: computed once, each half by itself, then read."""

import dataclasses

import numpy as np
import pytest
import xarray as xr
from small_experiment import Experiment

from ltqlib import importance
from ltqlib.bench import Plan, leaderboard, lost, one_layer, with_metrics
from ltqlib.data.halves import half_mask
from ltqlib.experiment import benchmark, evaluate, metrics

pytestmark = pytest.mark.slow

PLAN = Plan(prefixes=4)
COUNTS = {"outputs": 4, "fisher": 2, "curvature": 2}


@pytest.fixture(autouse=True)
def few_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ltqlib.experiment.importance.COUNTS", COUNTS)
    monkeypatch.setattr("ltqlib.experiment.importance.PROBES", 2)


def test_metrics_are_those_of_each_half(at_home: Experiment) -> None:
    found = metrics(at_home.first, bits=[6, 4])
    assert dict(found.sizes) == {
        "seed": 1, "half": 2, "class": 10, "layer": 16, "bits": 2
    }  # fmt: skip
    (trained,) = at_home.first
    for half in at_home.data.test.halves():
        expected = importance.measure(
            trained.graph(), half.images, half.labels, at_home.data.groups["tail"], [6, 4],
            counts=COUNTS, probes=2,
        )  # fmt: skip
        xr.testing.assert_allclose(
            found.sel(seed=0, half=half.half).drop_vars(["seed", "half", "group"]),
            expected.astype("float32"),
        )
    groups = np.array(at_home.data.test.group_of_class)
    np.testing.assert_array_equal(found["group"], groups[found["class"].values])
    assert metrics(at_home.first, bits=[6, 4]).identical(found)


def test_the_benchmark_counts_the_outcomes_of_its_images(at_home: Experiment) -> None:
    (table,) = benchmark(at_home.first, PLAN, images=20).values()
    labels = at_home.data.test.labels
    chosen = np.zeros(len(labels), bool)
    for side in (True, False):
        for label in range(10):
            members = np.flatnonzero((half_mask(labels) == side) & (labels == label))
            chosen[members[:20]] = True
    numbers = {"float": 0, "one": int(one_layer(table.widths)[4, 3]), "random": 90}
    rows = {
        name: dict(zip(table.layer.values.tolist(), table.widths.values[k].tolist(), strict=True))
        for name, k in numbers.items()
    }
    outcomes = evaluate(at_home.first, bits=rows).sel(seed=0).isel(image=chosen)
    for name, k in numbers.items():
        for half in ("choose", "judge"):
            some = outcomes.sel(configuration=name).isel(image=outcomes.half.values == half)
            expected = some.right.groupby("label").sum()
            np.testing.assert_array_equal(table.correct.sel(half=half)[:, k], expected)
    assert float(lost(table, "tail", "judge")[0]) == 0
    (again,) = benchmark(at_home.first, PLAN, images=20).values()
    assert again.identical(table)


def test_the_leaderboard_runs_on_both(at_home: Experiment) -> None:
    first = dataclasses.replace(at_home.crt, configs=at_home.crt.configs[:1])
    measured = metrics(first)
    tables = {
        seed: with_metrics(table, measured.sel(seed=seed))
        for seed, table in benchmark(first, PLAN, images=20).items()
    }
    found = leaderboard(tables, draws=10)
    assert np.isfinite(found).all()
    assert (abs(found) <= 1 + 1e-9).all()
