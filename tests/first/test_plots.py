"""Figures show the numbers they were given, and are drawn without a warning."""

import io

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from ltqlib.first import diagrams, evidence, interactions, plots

mpl.use("Agg")


def render(figure: Figure) -> int:
    """Bytes of the figure as PNG; warnings are errors in this suite."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.tell()


def accuracy_table(methods: tuple[str, ...] = ("baseline",)) -> pd.DataFrame:
    rows = [
        (factor, method, group, 50.0 + 10 * number, 48.0 + 10 * number, 52.0 + 10 * number)
        for factor in (1.0, 0.1, 0.02, 0.01)
        for method in methods
        for number, group in enumerate(evidence.GROUPS)
    ]
    columns = ["imbalance_factor", "method", "group", "accuracy", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def bits_table() -> pd.DataFrame:
    rows = [
        (bits, group, 80.0 - loss, loss, loss - 1, loss + 1)
        for bits, loss in ((32, 0.0), (8, 1.0), (4, 9.0))
        for group in evidence.GROUPS
    ]
    return pd.DataFrame(rows, columns=["bits", "group", "accuracy", "drop", "low", "high"])


def test_counts_are_drawn_as_given() -> None:
    figure = plots.class_counts({1.0: [50] * 10, 0.1: list(range(50, 0, -5))}, list("abcdefghij"))
    drawn = [list(line.get_ydata()) for line in figure.axes[0].lines[:2]]
    assert drawn == [[50] * 10, list(range(50, 0, -5))]
    assert render(figure) > 10_000


def test_imbalance_lines_and_hollow_marks() -> None:
    figure = plots.accuracy_over_imbalance(accuracy_table(), {0.1: [1, 2, 3]})
    ours = figure.axes[0].containers[0].lines[0]  # type: ignore[attr-defined]
    assert list(ours.get_ydata()) == [50.0] * 4
    hollow = [line for line in figure.axes[0].lines if line.get_markerfacecolor() == "none"]
    assert [float(np.nanmax(line.get_ydata())) for line in hollow[:3]] == [1, 2, 3]
    assert render(figure) > 10_000


def test_bits_curve_reverses_the_interval_of_a_loss() -> None:
    figure = plots.bits_curve({"one": bits_table(), "two": bits_table()})
    bars = figure.axes[0].containers[0].lines[2][0]  # type: ignore[attr-defined]
    ends = bars.get_segments()[-1][:, 1]
    assert list(ends) == [70.0, 72.0]  # accuracy 71, loss between 8 and 10 of 80
    assert render(figure) > 10_000


@pytest.mark.parametrize("name", ["sensitivity", "ranks", "classes", "random", "heatmap", "bars"])
def test_other_figures_render(name: str) -> None:
    layers = [f"L{n}" for n in range(1, 17)]
    ranks = pd.DataFrame({"norm": range(1, 17), "tail": range(16, 0, -1)}, index=layers)
    losses = pd.DataFrame(
        [(layer, group, 0.0, 1.0, 0.5, 1.5) for layer in layers for group in evidence.GROUPS],
        columns=["layer", "group", "accuracy", "drop", "low", "high"],
    )
    classes = pd.DataFrame(
        {"class": list("abcdefghij"), "group": ["head"] * 4 + ["tail"] * 6, "first": 50.0,
         "second": 51.0, "change": 1.0, "low": -1.0, "high": 3.0}
    )  # fmt: skip
    reported = evidence.reported()["table1"]
    table = accuracy_table(("baseline", "crt"))
    figure = {
        "sensitivity": lambda: plots.sensitivity_bars(losses),
        "ranks": lambda: plots.rank_changes(ranks),
        "classes": lambda: plots.class_accuracy(classes, "one", "two"),
        "random": lambda: plots.against_random([1, 2, 3], {"norm": 2, "tail": 2.5}, "accuracy"),
        "heatmap": lambda: plots.loss_heatmap({"w": bits_table(), "wa": bits_table()}),
        "bars": lambda: plots.decoupling_bars(table[table["imbalance_factor"] < 1], reported),
    }[name]()
    assert render(figure) > 5_000


def test_every_seed_and_all_together_are_drawn() -> None:
    rows = [(bits, seed, 1.0 * bits, 0.0, 9.0) for bits in (6, 4) for seed in ("0", "1", "all")]
    table = pd.DataFrame(rows, columns=["bits", "seed", "value", "low", "high"])
    figure = plots.extra_by_seed({"one": table})
    drawn = [list(c.lines[0].get_ydata()) for c in figure.axes[0].containers]  # type: ignore[attr-defined]
    assert drawn == [[6.0, 4.0]] * 3
    assert render(figure) > 5_000


def test_networks_with_other_seeds_stand_side_by_side() -> None:
    rows = [("wide", "0", 1.0), ("wide", "all", 2.0), ("small", "1", 3.0), ("small", "all", 4.0)]
    table = pd.DataFrame(rows, columns=["network", "seed", "value"]).assign(low=0.0, high=9.0)
    figure = plots.extra_by_seed({"one": table}, over="network")
    axes = figure.axes[0]
    drawn = [list(c.lines[0].get_ydata()) for c in axes.containers]  # type: ignore[attr-defined]
    np.testing.assert_equal(drawn, [[1, np.nan], [np.nan, 3], [2, 4]])  # all of them come last
    assert [label.get_text() for label in axes.get_xticklabels()] == ["wide", "small"]


def test_every_factor_has_its_mark_at_every_width() -> None:
    rows = [
        (factor, method, bits, bits + factor, 0.0, 9.0)
        for factor in (0.1, 0.02, 0.01)
        for method in ("baseline", "cRT")
        for bits in (6, 4)
    ]
    columns = ["imbalance_factor", "method", "bits", "value", "low", "high"]
    figure = plots.extra_by_factor(pd.DataFrame(rows, columns=columns))
    drawn = [list(c.lines[0].get_ydata()) for c in figure.axes[1].containers]  # type: ignore[attr-defined]
    assert drawn == [[6.1, 4.1], [6.02, 4.02], [6.01, 4.01]]
    assert render(figure) > 5_000


def test_classes_are_followed_over_their_counts() -> None:
    rows = [
        (label, count, float(label + count))
        for label in range(3)
        for count in (10, 100)
        for _ in range(2)  # two seeds
    ]
    table = pd.DataFrame(rows, columns=["class", "count", "value"])
    figure = plots.over_frequency({"one": table, "two": table}, ["a", "b", "c"])
    drawn = [list(line.get_ydata()) for line in figure.axes[0].lines]
    assert drawn == [[10.0, 100.0], [11.0, 101.0], [12.0, 102.0]]
    assert render(figure) > 10_000


def test_parts_of_a_difference_are_drawn_with_their_intervals() -> None:
    rows = [("a", part, x, x - 1, x + 2) for x, part in enumerate(("total", "rarity", "identity"))]
    table = pd.DataFrame(rows, columns=["what", "part", "value", "low", "high"])
    figure = plots.decomposition(table)
    bars = [c.lines[2][0].get_segments()[0][:, 0] for c in figure.axes[0].containers]  # type: ignore[attr-defined]
    assert [list(bar) for bar in bars] == [[-1, 2], [0, 3], [1, 4]]
    assert render(figure) > 5_000


def test_methods_are_drawn_at_every_factor_and_large_losses_at_the_edge() -> None:
    rows = [
        (factor, method, group, change, change - 1, change + 1)
        for factor in (0.1, 0.01)
        for method, change in (("one", 2.0), ("two", -57.0))
        for group in ("norm", "tail", "worst")
    ]
    table = pd.DataFrame(rows, columns=["factor", "method", "group", "change", "low", "high"])
    figure = plots.changes_by_method(table)
    drawn = [list(c.lines[0].get_xdata()) for c in figure.axes[0].containers]  # type: ignore[attr-defined]
    assert drawn == [[2.0], [2.0]]
    arrows = [line for line in figure.axes[0].lines if line.get_marker() == "<"]
    assert [list(line.get_xdata()) for line in arrows] == [[-25.0], [-25.0]]
    assert render(figure) > 5_000


def test_agreement_is_drawn_by_group_also_without_intervals() -> None:
    rows = [("one", group, 0.5, np.nan, np.nan) for group in evidence.GROUPS]
    table = pd.DataFrame(rows, columns=["metric", "group", "correlation", "low", "high"])
    figure = plots.agreement_dots(table)
    drawn = [list(c.lines[0].get_xdata()) for c in figure.axes[0].containers]  # type: ignore[attr-defined]
    assert drawn == [[0.5]] * 3
    assert render(figure) > 5_000


def test_ranks_are_written_into_their_cells() -> None:
    ranks = pd.DataFrame([[1.0, 2.0], [2.0, 1.0]], index=["a", "b"], columns=["L1", "L2"])
    figure = plots.metric_ranks(ranks)
    assert [text.get_text() for text in figure.axes[0].texts] == ["1", "2", "2", "1"]
    assert render(figure) > 5_000


@pytest.mark.parametrize(
    "name",
    ["methods_and_applications", "long_tail", "decoupling", "uniform_grid", "layer_sensitivity"],
)
def test_diagrams_render(name: str) -> None:
    assert render(getattr(diagrams, name)()) > 10_000


def test_the_leaderboard_is_sorted_by_the_tail() -> None:
    rows = [
        (name, group, value + shift, value + shift - 0.05, value + shift + 0.05)
        for name, value in (("size", 0.3), ("accuracy drop", 0.8), ("FIT", 0.6))
        for group, shift in (("tail", 0.0), ("norm", 0.1))
    ]
    table = pd.DataFrame(rows, columns=["proxy", "group", "spearman", "low", "high"])
    figure = plots.leaderboard(table, {"other images": 0.95}, target=0.9)
    (axes,) = figure.axes
    assert [t.get_text() for t in axes.get_yticklabels()] == ["accuracy drop", "FIT", "size"]
    tail = axes.containers[0].lines[0]  # the marks, without caps and bars
    np.testing.assert_allclose(tail.get_xdata(orig=False), [0.8, 0.6, 0.3])
    bottom, top = axes.get_ylim()
    assert bottom > top
    assert render(figure) > 10_000


def test_true_losses_stand_over_what_each_proxy_says() -> None:
    rng = np.random.default_rng(0)
    panels = {name: (rng.random(50), rng.random(50)) for name in ("size", "drop")}
    figure = plots.losses_over_proxy(panels)
    for axes, (name, (predicted, lost)) in zip(figure.axes, panels.items(), strict=True):
        assert axes.get_title("left") == name
        np.testing.assert_array_equal(axes.lines[0].get_xydata(), np.stack([predicted, lost], 1))
    assert render(figure) > 10_000


def pair_tables() -> dict[str, pd.DataFrame]:
    """Tested interactions of four layers at 3 and 4 bits, the tail's larger than the head's."""
    generator = np.random.default_rng(0)
    singles = generator.exponential(size=(4, 2, 10, 2))
    found = generator.normal(size=(6, 2, 2, 10, 2))
    found[..., 4:, :] *= 3
    pairs = interactions.Pairs(
        ("L1", "L2", "L3", "L4"), (4, 3), np.zeros((10, 2)), singles, found, 0.1 + 0 * found
    )
    groups = {"head": range(4), "tail": range(4, 10)}
    return {
        group: interactions.tested(interactions.pair_table(pairs, list(members)))
        for group, members in groups.items()
    }


def test_the_map_shows_one_width_above_and_the_other_below_the_diagonal() -> None:
    tables = pair_tables()
    figure = plots.interaction_maps(tables, 3, 4, ["L1", "L2", "L3", "L4"])
    for axes, table in zip(figure.axes, tables.values(), strict=False):
        drawn = np.asarray(axes.images[0].get_array())
        rows = table.set_index(["first", "second", "bits_first", "bits_second"])["interaction"]
        assert drawn[0, 2] == rows.loc[("L1", "L3", 3, 3)]
        assert drawn[2, 0] == rows.loc[("L1", "L3", 4, 4)]
        assert np.isnan(np.ma.filled(drawn[1, 1], np.nan))
        chosen = table[(table["bits_first"] == table["bits_second"]) & (table["holm"] < 0.05)]
        assert len(axes.lines[0].get_xdata()) == len(chosen)  # type: ignore[arg-type]
    assert render(figure) > 10_000


def test_pairs_are_held_against_sums_of_the_other_half() -> None:
    tables = pair_tables()
    figure = plots.sum_and_pair(tables)
    for axes, table in zip(figure.axes, tables.values(), strict=True):
        first = table["one_select"] + table["other_select"]
        assert list(axes.lines[0].get_xdata()) == list(first)  # type: ignore[arg-type]
        assert list(axes.lines[0].get_ydata()) == list(table["both_report"])  # type: ignore[arg-type]
    assert render(figure) > 10_000


def test_growth_is_of_equally_many_pairs() -> None:
    tables = pair_tables()
    figure = plots.interaction_growth(tables, bins=4)
    left, right = figure.axes
    for line, table in zip(right.lines, tables.values(), strict=False):
        expected = table.groupby("distance")["interaction"].mean()
        np.testing.assert_allclose(line.get_ydata(), expected)
    means = np.asarray(left.lines[0].get_ydata())
    assert means.mean() == pytest.approx(tables["head"]["interaction"].mean())
    assert render(figure) > 10_000


def test_networks_are_rows_and_published_figures_hollow() -> None:
    table = accuracy_table(("baseline", "crt")).query("imbalance_factor < 1")
    both = pd.concat([table.assign(network=name) for name in ("one", "two")])
    both = both[(both["network"] == "one") | (both["imbalance_factor"] == 0.01)]
    figure = plots.accuracy_by_network(both, {("one", 0.1, "crt"): 77.0})
    first, _, last = figure.axes
    assert [text.get_text() for text in first.get_yticklabels()] == [
        "one: baseline", "one: crt", "two: baseline", "two: crt",
    ]  # fmt: skip
    hollow = {
        (float(line.get_xdata()[0]), int(line.get_ydata()[0]))
        for axes in figure.axes
        for line in axes.lines
        if len(line.get_xdata()) and line.get_markerfacecolor() == "none"
        and np.isfinite(line.get_xdata()[0])
    }  # fmt: skip
    assert hollow == {(77.0, 1)}
    heads = [line for line in last.lines if line.get_marker() == "o" and len(line.get_xdata())]
    assert [int(line.get_ydata()[0]) for line in heads] == [0, 1, 2, 3]
    assert render(figure) > 10_000
