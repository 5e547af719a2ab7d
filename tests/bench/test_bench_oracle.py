"""The leaderboard of the first edition's published records, scored again by the new code."""

import json

import numpy as np
import pytest
import xarray as xr

from ltqlib import paths
from ltqlib.bench import Scorer, lost, rows_of, seen
from ltqlib.bench.proxies import PROXIES
from ltqlib.bench.table import HALVES
from ltqlib.first.bench import PROXIES as OLD
from ltqlib.first.bench import Bench
from ltqlib.first.bench import Scorer as OldScorer

RUN = "984d186be37f"
OLD_HALVES = {"choose": "select", "judge": "report"}


@pytest.fixture(scope="module")
def old() -> Bench:
    path = paths.root() / "results" / RUN / "bench.json"
    return Bench.open(json.loads(path.read_text())["payload"])


@pytest.fixture(scope="module")
def new(old: Bench) -> xr.Dataset:
    counts = [old.counts[OLD_HALVES[half]] for half in HALVES]
    correct = np.stack([each.correct for each in counts])
    floating = (old.widths == 32).all(1)
    correct[..., floating] = np.stack([each.floating for each in counts])[..., None]
    nothing = np.zeros((2, len(old.widths)))
    layers = {"layer": old.layers, "bits": [32, 8, 6, 5, 4, 3, 2]}
    return xr.Dataset(
        {
            "correct": (("half", "class", "configuration"), correct),
            "images": (("half", "class"), np.stack([each.images for each in counts])),
            "called_tail": (("half", "configuration"), nothing),
            "margin": (("half", "configuration"), nothing),
            "tail_at_equal_head": (("half", "configuration"), nothing),
            "curve": (("half", "layer", "bits"), np.zeros((2, 16, 7))),
            "widths": (("configuration", "layer"), old.widths),
        },
        layers
        | {
            "half": list(HALVES),
            "class": range(10),
            "group": ("class", ["head"] * 4 + ["tail"] * 6),
            "family": ("configuration", old.family),
            "cluster": ("configuration", old.cluster),
            "parameters": ("layer", old.parameters),
            "macs": ("layer", old.macs),
        },
    )


def test_losses_and_proxies_and_their_scores_are_those_published(old, new, monkeypatch) -> None:
    places = old.rows(["random"])
    np.testing.assert_array_equal(rows_of(new, ["random"]), places)
    views = [(seen(new, h, places), old.view(o, places)) for h, o in OLD_HALVES.items()]
    for half, other in OLD_HALVES.items():
        for group in ("tail", "norm"):
            found, was = lost(new, group, half).values, old.lost(group, other)
            rounded = (old.widths < 32).any(1)  # the float model itself was counted in bfloat16
            np.testing.assert_allclose(found[rounded], was[rounded], atol=1e-9)
    monkeypatch.setattr(Bench, "lost", lambda *args, was=Bench.lost: was(*args).round(9))
    scorer, before = Scorer(new, places, 20), OldScorer(old, places, 20)

    def tied(proxy):  # equal values are equal, as now
        return lambda view: np.round((v := proxy.function(view)) / np.abs(v).max(), 11)

    compared = 0
    for proxy in OLD:
        if proxy.scores:
            continue
        again = PROXIES[proxy.name].function
        for view, was in views:
            unit = 8 if proxy.name == "BOPs" else 1  # inputs of 8 bits are counted now
            np.testing.assert_allclose(again(view) / unit, proxy.function(was), atol=1e-9)
        found = scorer.spearman(again, ["tail", "norm"])
        for score, was in zip(found.values(), before.spearman(tied(proxy)), strict=True):
            assert score.value == pytest.approx(was.value, abs=1e-5)  # sums in float32
            np.testing.assert_allclose(score.interval, was.interval, atol=1e-5)
        compared += 1
    assert compared == 11
