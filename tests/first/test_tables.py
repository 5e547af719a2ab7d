"""Tables of the book, recomputed from the published records by hand."""

import json

import numpy as np
import pytest

from ltqlib.first import evidence, paths, tables
from ltqlib.first.evidence import Replicates
from ltqlib.first.records import unpack

GRIDS = ("w-tensor", "w-channel")


@pytest.fixture(scope="module")
def quantized() -> Replicates:
    return evidence.open_replicates("laptop", 0.01).with_step("schemes")


def lost(digest: str, method: str, scheme: str, bits: int) -> np.ndarray:
    """Points that each class loses, from the files of one run."""

    def payload(step: str) -> dict:
        return json.loads((paths.results(digest) / f"{step}.json").read_text())["payload"]

    labels = unpack(payload("data")["test_labels"])
    before = unpack(payload("decouple")["predictions"][method])
    step = "ptq" if scheme == "w-tensor" else "schemes"
    after = unpack(payload(step)["predictions"][method][scheme][str(bits)])
    gone = (before == labels).astype(float) - (after == labels)
    return np.array([100 * gone[labels == label].mean() for label in range(10)])


def test_what_each_grid_costs_the_tail(quantized: Replicates) -> None:
    table = tables.scheme_table(quantized, ("crt",), GRIDS, 4).set_index(["scheme", "measure"])
    by_class = {
        grid: np.mean([lost(run.config.digest(), "crt", grid, 4) for run in quantized.runs], axis=0)
        for grid in GRIDS
    }
    first, other = by_class.values()
    assert table.loc[("w-channel", "tail"), "value"] == pytest.approx(other[4:].mean())
    beyond_head = other[4:].mean() - other[:4].mean()
    assert table.loc[("w-channel", "beyond head"), "value"] == pytest.approx(beyond_head)
    beyond_first = (other - first)[4:].mean()
    assert table.loc[("w-channel", "beyond w-tensor"), "value"] == pytest.approx(beyond_first)
    assert ("w-tensor", "beyond w-tensor") not in table.index
    assert (table["low"] < table["value"]).all()
    assert (table["value"] < table["high"]).all()


@pytest.mark.parametrize(
    ("parts", "said"),
    [(["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")],
)
def test_a_list_is_said_in_words(parts: list[str], said: str) -> None:
    assert tables.listed(parts) == said
