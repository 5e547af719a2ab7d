"""The front: every allocation once, sizes and accuracies as counted, and the figures of it."""

import io
import json
import re
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from ltqlib.first import evidence, front, plots
from ltqlib.first.evidence import Replicates, Run
from ltqlib.first.plots.front import SCRIPT
from ltqlib.first.records import unpack

mpl.use("Agg")

SCORES = ("loss", "kl", "hawq", "fit")  # how methods that use other scores begin


@pytest.fixture(scope="module")
def published() -> Replicates:
    """The published runs at the strongest imbalance."""
    replicates = evidence.open_replicates("laptop", 0.01)
    return replicates.with_step("allocate").with_step("mpq")


@pytest.fixture(scope="module")
def table(published: Replicates) -> pd.DataFrame:
    return front.front_table(published)


def test_each_allocation_is_one_row(published: Replicates, table: pd.DataFrame) -> None:
    assert not table.duplicated(["family", "name"]).any()
    assert set(table["seeds"]) == {len(published.runs)}
    first = published.first
    allocations, null = (first.payload("allocate")[key] for key in ("allocations", "null"))
    other = sum(len(found) for name, found in allocations.items() if name.startswith(SCORES))
    rest = ("ranking", "greedy", *SCORES)
    expected = {
        "uniform": len(front.UNIFORM),
        "ranking": sum(len(found) for found in first.payload("mpq")["allocations"].values()) + 2,
        "random ranking": len(first.payload("mpq")["random"]),
        "exact": sum(len(f) for name, f in allocations.items() if not name.startswith(rest)),
        "exact, other scores": other,
        "greedy": sum(len(f) for name, f in allocations.items() if name.startswith("greedy")),
        "exact, layers shuffled": sum(len(found) for found in null.values()),
    }
    assert table["family"].value_counts().to_dict() == expected


def test_uniform_widths_store_what_they_say(published: Replicates, table: pd.DataFrame) -> None:
    rows = table[table["family"] == "uniform"].set_index("name")
    costs = published.first.payload("mpq")["costs"].values()
    weights = sum(cost["parameters"] for cost in costs)
    assert rows.loc["5 bits", "bits"] == pytest.approx(5)
    assert rows.loc["5 bits", "kilobytes"] == pytest.approx(5 * weights / 8000)
    assert rows.loc["5 bits", "widths"] == "L1-L16 5"


def test_accuracies_are_those_of_the_predictions(
    published: Replicates, table: pd.DataFrame
) -> None:
    """Counted anew from the packed predictions, class by class."""

    def accuracy(run: Run) -> list[float]:
        changes = run.payload("allocate")["allocations"]["tail"]["4.5"]["changes"]
        found = unpack(changes) ^ unpack(run.payload("sensitivity")["reference"])
        return [100 * (found == label)[run.labels == label].mean() for label in range(10)]

    each = np.array([accuracy(run) for run in published.runs])
    row = table.set_index("name").loc["exact, tail-driven, 4.5 bits"]
    assert row["norm"] == pytest.approx(each.mean())
    assert row["tail"] == pytest.approx(each[:, 4:].mean())
    assert row["worst"] == pytest.approx(each.min(1).mean())


def test_allocations_keep_their_budget(table: pd.DataFrame) -> None:
    sized = ~table["name"].str.contains(", BOPs of")
    rows = table[
        sized & table["family"].isin(["ranking", "greedy", "exact", "exact, other scores"])
    ]
    limits = rows["name"].str.extract(r"([\d.]+) bits$")[0].astype(float)
    assert (rows["bits"] <= limits + 1e-9).all()


@pytest.mark.parametrize(
    ("widths", "text"),
    [
        ([6, 6, 6], "L1-L3 6"),
        ([6, 4, 4, 4.5], "L1 6, L2-L3 4, L4 4.5"),
        ([4.04, 4.0], "L1-L2 4"),
        ([3], "L1 3"),
    ],
)
def test_neighbours_of_one_width_are_said_together(widths: list[float], text: str) -> None:
    assert front.widths_text(widths) == text


LEVELS = {"norm": 66.0, "tail": 61.0, "worst": 55.0}


def test_static_marks_are_the_table(table: pd.DataFrame) -> None:
    figure = plots.front(table, LEVELS)
    for axes, measure in zip(figure.axes, front.MEASURES, strict=True):
        drawn = [line for line in axes.lines if line.get_linestyle() == "None"]
        found = np.concatenate([np.asarray(line.get_ydata()) for line in drawn])
        assert sorted(found) == sorted(table[measure])
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    assert buffer.tell() > 10_000


def specification(html: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Traces and layout, as the script in the page is given them."""
    text = re.split(r'Plotly\.newPlot\(\s*"front-interactive",\s*', html)[1]
    traces, end = json.JSONDecoder().raw_decode(text)
    layout, _ = json.JSONDecoder().raw_decode(text[end:].lstrip(", \n"))
    return traces, layout


def test_interactive_marks_are_the_same_and_every_button_too(table: pd.DataFrame) -> None:
    traces, layout = specification(plots.front_interactive(table, LEVELS).html)
    assert sum(len(trace["x"]) for trace in traces[:-1]) == len(table)
    buttons = layout["updatemenus"][0]["buttons"]
    assert [button["label"] for button in buttons] == list(front.MEASURES.values())
    assert buttons[0]["args"][0]["y"] == [trace["y"] for trace in traces]
    for button, measure in zip(buttons, front.MEASURES, strict=True):
        *levels, reference = button["args"][0]["y"]
        assert reference == [LEVELS[measure]] * 2
        assert sorted(np.concatenate(levels)) == sorted(table[measure].round(3))


def test_hover_shows_the_widths_of_every_layer(table: pd.DataFrame) -> None:
    traces, _ = specification(plots.front_interactive(table, LEVELS).html)
    shown = {text for trace in traces[:-1] for text in trace["customdata"]}
    for row in table.to_dict("records"):
        (mine,) = [text for text in shown if f"<b>{row['family']}</b>: {row['name']}<" in text]
        assert mine.replace("<br>", ", ").endswith(row["widths"])


def test_the_page_carries_no_script_and_asks_no_other_machine(table: pd.DataFrame) -> None:
    page = plots.front_interactive(table, LEVELS)
    assert len(page.html) < 100_000
    assert re.findall(r'src="([^"]*)"', page.html) == [SCRIPT]
    assert "://" not in page.html.replace("http://www.w3.org", "")
    assert repr(page) == f"{len(table)} allocations, interactive"
