"""Other networks beside the main evidence, recomputed from the published records by hand."""

import json

import numpy as np
import pytest
import yaml

from ltqlib.first import evidence, paths, variants
from ltqlib.first.records import unpack
from ltqlib.first.variants import FULL, GAP, LONGER, NARROW, RESNET, Opened


@pytest.fixture(scope="module")
def opened() -> Opened:
    return variants.open_variants("laptop")


def published(opened: Opened, name: str, factor: float, step: str) -> list[dict]:
    """Payloads of a step of every seed, read without the library."""
    folders = [paths.results(run.config.digest()) for run in opened[name, factor].runs]
    return [json.loads((folder / f"{step}.json").read_text())["payload"] for folder in folders]


def right(payload: dict, method: str, labels: np.ndarray) -> np.ndarray:
    """Accuracy by class in percent."""
    correct = unpack(payload["predictions"][method]) == labels
    return np.array([100 * correct[labels == label].mean() for label in range(10)])


def test_only_variants_that_were_trained_are_opened(opened: Opened) -> None:
    assert {name for name, _ in opened} <= set(variants.VARIANTS)
    assert all(replicates.first.has("decouple") for replicates in opened.values())
    assert {factor for name, factor in opened if name == NARROW} == {0.1, 0.02, 0.01}
    configs = {(run.config.width, run.config.profile) for run in opened[NARROW, 0.01].runs}
    assert configs == {(0.25, "laptop")}


def test_changes_are_between_the_same_seeds(opened: Opened) -> None:
    table = variants.changes(opened, NARROW, LONGER).set_index(["imbalance_factor", "method"])
    labels = unpack(published(opened, NARROW, 0.02, "data")[0]["test_labels"])
    short, long = (published(opened, name, 0.02, "decouple")[0] for name in (NARROW, LONGER))
    gained = right(long, "crt", labels) - right(short, "crt", labels)
    found = table.loc[(0.02, "crt")].set_index("group")["value"]
    assert found["tail"] == pytest.approx(gained[4:].mean())
    assert found[GAP] == pytest.approx(gained[:4].mean() - gained[4:].mean())
    assert set(table["seeds"]) == {1}


def test_changes_of_what_bits_cost(opened: Opened) -> None:
    quantized = evidence.measured(opened, "ptq")

    def lost(replicates, method):
        return replicates.lost(method, "w-tensor", 4)

    table = variants.changes(quantized, NARROW, FULL, ("crt",), lost)
    rows = table.set_index(["imbalance_factor", "group"])
    labels = unpack(published(opened, NARROW, 0.02, "data")[0]["test_labels"])
    more = 0.0
    for name, sign in ((FULL, 1), (NARROW, -1)):  # full width has seed 0, the first of the narrow
        before = published(opened, name, 0.02, "decouple")[0]
        after = published(opened, name, 0.02, "ptq")[0]["predictions"]["crt"]["w-tensor"]["4"]
        cost = right(before, "crt", labels) - right({"predictions": {"crt": after}}, "crt", labels)
        more += sign * cost
    assert rows.loc[(0.02, "tail"), "seeds"] == 1
    assert rows.loc[(0.02, "tail"), "value"] == pytest.approx(more[4:].mean())
    assert rows.loc[(0.02, GAP), "value"] == pytest.approx(more[:4].mean() - more[4:].mean())


def test_distances_are_to_the_reported_figures(opened: Opened) -> None:
    table = variants.distances(opened).set_index(["network", "imbalance_factor", "method"])
    told = yaml.safe_load(paths.book("reported.yml").read_text())
    labels = unpack(published(opened, NARROW, 0.01, "data")[0]["test_labels"])
    of_seeds = [
        right(payload, "crt", labels).mean()
        for payload in published(opened, NARROW, 0.01, "decouple")
    ]
    row = table.loc[(NARROW, 0.01, "crt")]
    assert row["accuracy"] == pytest.approx(np.mean(of_seeds))
    assert row["sd"] == pytest.approx(np.std(of_seeds, ddof=1))
    assert row["distance"] == pytest.approx(
        np.mean(of_seeds) - told["table1"]["decoupling"][0.01][0]
    )
    assert table.loc[(RESNET, 0.01, "baseline"), "published"] == 70.4
    assert (RESNET, 0.1, "crt") not in table.index  # the literature has no such figure


def test_what_bits_cost_each_network(opened: Opened) -> None:
    table = variants.lost_to_bits(opened, "w-tensor", 4)
    assert LONGER not in set(table["network"])  # has no quantized models
    labels = unpack(published(opened, NARROW, 0.1, "data")[0]["test_labels"])
    lost = np.mean([
        right(floating, "baseline", labels)
        - right({"predictions": {"baseline": ptq["predictions"]["baseline"]["w-tensor"]["4"]}},
                "baseline", labels)
        for floating, ptq in zip(published(opened, NARROW, 0.1, "decouple"),
                                 published(opened, NARROW, 0.1, "ptq"), strict=True)
    ], axis=0)  # fmt: skip
    row = table.set_index(["network", "imbalance_factor", "method"]).loc[(NARROW, 0.1, "baseline")]
    assert row["value"] == pytest.approx(lost[4:].mean() - lost[:4].mean())
    assert row["tail"].startswith(f"{lost[4:].mean():.1f} [")


def test_networks_of_growing_width_side_by_side(opened: Opened) -> None:
    table = variants.extra_by_width(opened, "crt", "w-tensor", 4, 0.01)
    assert list(dict.fromkeys(table["network"])) == list(variants.WIDTHS)
    labels = unpack(published(opened, FULL, 0.01, "data")[0]["test_labels"])
    floating, ptq = (published(opened, FULL, 0.01, step)[1] for step in ("decouple", "ptq"))
    four = {"predictions": {"crt": ptq["predictions"]["crt"]["w-tensor"]["4"]}}
    lost = right(floating, "crt", labels) - right(four, "crt", labels)
    rows = table.query("network == @FULL").set_index("seed")["value"]
    assert rows["1"] == pytest.approx(lost[4:].mean() - lost[:4].mean())
    assert rows["all"] == pytest.approx(rows.drop("all").mean())
