"""The allocations that the first edition published, chosen again from its sensitivities."""

import json
from functools import cache

import numpy as np
import pytest
import xarray as xr

from ltqlib import paths
from ltqlib.allocation import allocate
from ltqlib.first import layerwise
from ltqlib.first.records import unpack

RUNS = ("984d186be37f", "aed9dcb28218")
WAYS = {
    "ranking-norm": ("ranking", "norm", (6, 4)),
    "ranking-tail": ("ranking", "tail", (6, 4)),
    "greedy-mean": ("greedy", "norm", (8, 6, 5, 4, 3, 2)),
    "greedy-tail": ("greedy", "tail", (8, 6, 5, 4, 3, 2)),
    "mean": ("exact", "norm", (8, 6, 5, 4, 3, 2)),
    "tail": ("exact", "tail", (8, 6, 5, 4, 3, 2)),
    "worst": ("exact", "worst + 0.01*norm", (8, 6, 5, 4, 3, 2)),
    "cvar": ("exact", "cvar:0.3 + 0.01*norm", (8, 6, 5, 4, 3, 2)),
}
TIES = {
    ("984d186be37f", "ranking-tail", "4.5"),
    ("984d186be37f", "greedy-mean", "4.5"),
    ("aed9dcb28218", "greedy-mean", "4.5"),
    ("984d186be37f", "greedy-tail", "5.0"),
    ("984d186be37f", "greedy-tail", "bops 4.5"),
}


@cache
def record(run: str, step: str) -> dict:
    return json.loads((paths.root() / "results" / run / f"{step}.json").read_text())["payload"]


@cache
def alone(run: str) -> xr.Dataset:
    """One layer at a time, as `sensitivity` returns it."""
    payload, data = record(run, "sensitivity"), record(run, "data")
    labels, floating = unpack(data["test_labels"]).astype(int), layerwise.reference(payload)
    layers, bits = list(payload["changes"]), [32, 8, 6, 5, 4, 3, 2]
    predicted = np.stack([
        [floating if b == 32 else unpack(payload["changes"][layer][str(b)]) ^ floating
         for b in bits] for layer in layers
    ])  # fmt: skip
    costs = record(run, "allocate")["costs"]
    return xr.Dataset(
        {"right": (("layer", "bits", "image"), predicted == labels)},
        {
            "layer": layers,
            "bits": bits,
            "label": ("image", labels),
            "group": ("image", np.where(labels < 4, "head", "tail")),
            "half": ("image", np.where(unpack(data["select"]), "select", "report")),
            "parameters": ("layer", [costs[n]["parameters"] for n in layers]),
            "macs": ("layer", [costs[n]["macs"] for n in layers]),
        },
    )


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("limit", ["4.5", "5.0", "bops 4.5", "both 4.5"])
def test_published_allocations_are_chosen_again(run: str, way: str, limit: str) -> None:
    how, minimize, choices = WAYS[way]
    by_limit = record(run, "allocate")["allocations"][way]
    if limit not in by_limit:
        pytest.skip("rankings and the greedy descent take one limit")
    most = float(limit.split()[-1])
    for half, published in by_limit[limit]["widths"].items():
        seen = alone(run).isel(image=alone(run).half == half)
        limits = {"mean_bits": None if "bops" in limit else most}
        if "bops" in limit or "both" in limit:
            limits["max_bops"] = most * 8 * float(seen.macs.sum())
        found = allocate(seen, minimize, choices, how=how, **limits)
        if found.values.tolist() != published:  # another optimum, as good
            if how != "exact":  # the last digits of sums decided between equal losses
                assert (run, way, limit) in TIES
                continue
            old = allocate(seen, minimize, choices, how=how, **limits).copy(data=published)
            assert value(seen, old, minimize) == pytest.approx(float(found.predicted), abs=1e-6)


def value(seen: xr.Dataset, widths: xr.DataArray, minimize: str) -> float:
    from ltqlib.allocation import Objective, class_losses, groups_of, predicted_losses

    losses = class_losses(seen)
    lost = predicted_losses(losses, widths).values
    return float(Objective.parse(minimize, groups_of(losses)).value(lost))
