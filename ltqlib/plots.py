"""The figures of the results: one function a figure, from tables of evidence to a Figure.

Filled marks are this book's measurements with 95 % intervals over test images; hollow grey marks
are what the post reports. Diagrams that show no data are in ``diagrams``.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ltqlib.style import ACCENT, FAINT, HEAD, INK, NORM, TAIL, new_figure

COLORS = {"norm": NORM, "head": HEAD, "tail": TAIL}
MARKERS = {"norm": "s", "head": "o", "tail": "D"}
NAMES = {"norm": "all classes", "head": "head", "tail": "tail"}
LINES = ("-", "--", ":", "-.")


def class_counts(
    counts: Mapping[float, Sequence[int]], classes: Sequence[str], head: int = 4
) -> Figure:
    """Training images by class for each imbalance factor, on a logarithmic axis (figure 4)."""
    figure = new_figure(3.6)
    axes = figure.subplots()
    places = np.arange(len(classes))
    axes.axvspan(-0.5, head - 0.5, color=HEAD, alpha=0.08, lw=0)
    axes.axvspan(head - 0.5, len(classes) - 0.5, color=TAIL, alpha=0.08, lw=0)
    for style, (factor, values) in zip(LINES, counts.items(), strict=False):
        label = "balanced" if factor == 1 else f"IF {factor:g}"
        axes.plot(places, values, style, marker="o", ms=5, color=INK, label=label)
        axes.annotate(str(values[-1]), (places[-1], values[-1]), (6, -4),
                      textcoords="offset points")  # fmt: skip
    axes.set_yscale("log")
    axes.set_xticks(places, list(classes), rotation=35, ha="right")
    axes.set_xlim(-0.5, len(classes) - 0.1)
    axes.set_ylabel("training images")
    axes.text(0, axes.get_ylim()[0] * 1.25, "head", color=HEAD, weight="bold")
    axes.text(head, axes.get_ylim()[0] * 1.25, "tail", color=TAIL, weight="bold")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=4)
    return figure


def accuracy_over_imbalance(
    table: pd.DataFrame, reported: Mapping[float, Sequence[float]] | None = None
) -> Figure:
    """Norm, head and tail accuracy over the imbalance factor, one method (figure 5)."""
    figure = new_figure(3.6)
    axes = figure.subplots()
    factors = sorted(table["imbalance_factor"].unique(), reverse=True)
    places = np.arange(len(factors))
    for number, (group, rows) in enumerate(table.groupby("group", sort=False)):
        rows = rows.set_index("imbalance_factor").loc[factors]
        _with_interval(axes, places + 0.06 * (number - 1), rows, str(group), "accuracy")
        if reported is not None:
            post = [reported[f][number] if f in reported else np.nan for f in factors]
            _hollow(axes, places + 0.06 * (number - 1) + 0.03, post, str(group))
    names = ["balanced" if factor == 1 else f"IF {factor:g}" for factor in factors]
    axes.set_xticks(places, names)
    _accuracy_axis(axes)
    return figure


def decoupling_bars(
    table: pd.DataFrame, reported: Mapping[str, Mapping[float, Sequence[float]]]
) -> Figure:
    """Head and tail accuracy, baseline beside decoupled, by imbalance factor (figure 6)."""
    figure = new_figure(3.8)
    factors = sorted(table["imbalance_factor"].unique(), reverse=True)
    panels = figure.subplots(1, len(factors), sharey=True)
    for axes, factor in zip(np.atleast_1d(panels), factors, strict=True):
        rows = table[table["imbalance_factor"] == factor].set_index(["method", "group"])
        for place, (method, post) in enumerate(zip(("baseline", "crt"), reported, strict=True)):
            for shift, group in ((-0.2, "head"), (0.2, "tail")):
                row = rows.loc[(method, group)]
                axes.bar(place + shift, row["accuracy"], 0.36, color=COLORS[group],
                         yerr=[[row["accuracy"] - row["low"]], [row["high"] - row["accuracy"]]],
                         ecolor=INK, capsize=2)  # fmt: skip
                values = reported[post].get(factor)
                if values is not None:
                    _hollow(axes, [place + shift], [values[1 if group == "head" else 2]], group)
        axes.set_title(f"IF {factor:g}")
        axes.set_xticks([0, 1], ["baseline", "cRT"])
    first = np.atleast_1d(panels)[0]
    first.set_ylabel("test accuracy (%)")
    handles = [first.bar(0, 0, color=COLORS[g], label=g) for g in ("head", "tail")]
    handles.append(first.scatter([], [], marker="o", fc="none", ec=INK, label="post"))
    figure.legend(handles=handles, loc="outside upper center", ncols=3)
    return figure


def bits_curve(
    tables: Mapping[str, pd.DataFrame],
    reported: Mapping[str, Mapping[int, Sequence[float]]] | None = None,
) -> Figure:
    """Head and tail accuracy over bit-width; one panel an entry of ``tables`` (figures 7, 8)."""
    figure = new_figure(3.8)
    panels = np.atleast_1d(figure.subplots(1, len(tables), sharey=True))
    for axes, (title, table) in zip(panels, tables.items(), strict=True):
        widths = sorted(table["bits"].unique(), reverse=True)
        places = np.arange(len(widths))
        for number, group in enumerate(("head", "tail")):
            rows = table[table["group"] == group].set_index("bits").loc[widths]
            rows = rows.assign(
                low=rows["accuracy"] - (rows["high"] - rows["drop"]),
                high=rows["accuracy"] + (rows["drop"] - rows["low"]),
            )
            _with_interval(axes, places, rows, group, "accuracy")
            post = (reported or {}).get(title, {})
            values = [post[bits][number] if bits in post else np.nan for bits in widths]
            if post:
                _hollow(axes, places, values, group)
        axes.set_xticks(places, ["float" if bits == 32 else str(bits) for bits in widths])
        axes.set_xlabel("bits")
        axes.set_title(title)
        axes.grid(axis="y")
    panels[0].set_ylabel("test accuracy (%)")
    _legend(panels[-1])
    return figure


def loss_heatmap(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """Accuracy lost by head and tail: a row a scheme, a column a width, one panel a group."""
    figure = new_figure(0.42 * len(tables) + 1.7)
    panels = figure.subplots(1, 2, sharey=True)
    widths = [bits for bits in sorted(_first(tables)["bits"].unique(), reverse=True) if bits != 32]
    for axes, group in zip(panels, ("head", "tail"), strict=True):
        drops = np.array(
            [
                table[table["group"] == group].set_index("bits").loc[widths, "drop"].to_numpy()
                for table in tables.values()
            ]
        )
        axes.imshow(np.clip(drops, 0, 40), cmap="Greys", vmin=0, vmax=60, aspect="auto")
        for (row, column), drop in np.ndenumerate(drops):
            axes.text(column, row, f"{drop:.1f}", ha="center", va="center", fontsize=10,
                      color="white" if drop > 33 else INK)  # fmt: skip
        axes.set_title(f"{group}: points lost", color=COLORS[group])
        axes.set_xticks(range(len(widths)), [str(bits) for bits in widths])
        axes.set_xlabel("bits")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    panels[0].set_yticks(range(len(tables)), list(tables))
    return figure


def rank_changes(ranks: pd.DataFrame, top: int = 9) -> Figure:
    """Ranks of the layers by overall and by tail accuracy, joined by lines (figure 9).

    The ``top`` layers are those that lose most; a layer that moves by three ranks or more is red.
    """
    figure = new_figure(4.6, 5.2)
    axes = figure.subplots()
    shown = ranks[(ranks["norm"] <= top) | (ranks["tail"] <= top)]
    for layer, row in shown.iterrows():
        moved = abs(row["norm"] - row["tail"]) >= 3
        axes.plot([0, 1], [row["norm"], row["tail"]], "-o", ms=6,
                  color=TAIL if moved else NORM, lw=2.5 if moved else 1.3)  # fmt: skip
        axes.text(-0.06, row["norm"], str(layer), ha="right", va="center")
        axes.text(1.06, row["tail"], str(layer), ha="left", va="center")
    axes.axhline(top + 0.5, color=NORM, ls=":", lw=1)
    axes.set_xlim(-0.4, 1.4)
    axes.invert_yaxis()
    axes.set_xticks([0, 1], ["by overall accuracy", "by tail accuracy"])
    axes.set_yticks(range(1, int(shown.to_numpy().max()) + 1))
    axes.set_ylabel("rank (1: loses most)")
    axes.spines["bottom"].set_visible(False)
    return figure


def sensitivity_bars(table: pd.DataFrame) -> Figure:
    """Accuracy lost with one layer quantized, by layer, head and tail, with intervals."""
    figure = new_figure(3.6)
    axes = figure.subplots()
    layers = list(dict.fromkeys(table["layer"]))
    for shift, group in ((-0.2, "head"), (0.2, "tail")):
        rows = table[table["group"] == group].set_index("layer").loc[layers]
        error = [rows["drop"] - rows["low"], rows["high"] - rows["drop"]]
        axes.bar(np.arange(len(layers)) + shift, rows["drop"], 0.38, color=COLORS[group],
                 yerr=error, ecolor=INK, error_kw={"lw": 1}, label=group)  # fmt: skip
    axes.axhline(0, color=INK, lw=0.8)
    axes.set_xticks(range(len(layers)), layers, rotation=45)
    axes.set_ylabel("points lost")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    return figure


def class_accuracy(
    table: pd.DataFrame,
    first: str,
    second: str,
    reported: tuple[Sequence[float], Sequence[float]] | None = None,
) -> Figure:
    """Accuracy by class of two models, and under it their difference (figure 10)."""
    figure = new_figure(4.8)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    places = np.arange(len(table))
    upper.bar(places - 0.2, table["first"], 0.38, color=NORM, label=first)
    upper.bar(places + 0.2, table["second"], 0.38, color=ACCENT, label=second)
    upper.set_ylabel("test accuracy (%)")
    colors = [COLORS[group] for group in table["group"]]
    error = [table["change"] - table["low"], table["high"] - table["change"]]
    lower.bar(places, table["change"], 0.6, color=colors, yerr=error, ecolor=INK, capsize=2)
    lower.axhline(0, color=INK, lw=0.8)
    if reported is not None:
        _hollow(upper, places - 0.2, reported[0], "head")
        _hollow(upper, places + 0.2, reported[1], "head")
        _hollow(lower, places, np.subtract(reported[1], reported[0]), "head")
        upper.plot([], [], "o", mfc="none", mec=INK, label="the post")
    upper.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3)
    lower.set_ylabel("difference (points)")
    lower.set_xticks(places, table["class"], rotation=35, ha="right")
    return figure


def against_random(random: npt.ArrayLike, marks: Mapping[str, float], label: str) -> Figure:
    """Where some values lie among those of random allocations of the same size."""
    figure = new_figure(2.2)
    axes = figure.subplots()
    values = np.sort(np.asarray(random, dtype=float))
    axes.plot(values, np.zeros_like(values), "|", ms=18, mew=2, color=NORM, label="random rankings")
    colors = {"norm": NORM, "tail": TAIL}
    for (name, value), level in zip(marks.items(), (0.55, 0.9), strict=False):
        color = next((c for key, c in colors.items() if name.startswith(key)), INK)
        axes.plot([value, value], [-0.3, level], color=color)
        axes.text(value, level, f"{name} ", color=color, ha="right", va="top", weight="bold")
    axes.set_ylim(-0.5, 1.1)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(label)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1))
    return figure


def claims_forest(ledger: pd.DataFrame) -> Figure:
    """Every tested difference in points with its interval; right of zero supports the claim."""
    rows = ledger[ledger["unit"] == "points"].dropna().reset_index(drop=True)
    figure = new_figure(0.36 * len(rows) + 1.0)
    axes = figure.subplots()
    colors = {"reproduced": HEAD, "not reproduced": TAIL, "inside the noise": NORM}
    for place, row in enumerate(rows.to_dict("records")):
        color = colors[row["verdict"]]
        axes.plot([row["low"], row["high"]], [place, place], color=color)
        axes.plot(row["value"], place, "o", color=color)
    axes.axvline(0, color=INK, lw=1)
    axes.set_yticks(range(len(rows)), rows["measured"])
    axes.invert_yaxis()
    axes.grid(axis="x", color=FAINT)
    axes.set_xlabel("difference (points), 95 % interval")
    for verdict, color in colors.items():
        axes.plot([], [], "o-", color=color, label=verdict)
    figure.legend(loc="outside upper center", ncols=3)
    return figure


def training_curve(histories: Mapping[str, Sequence[Mapping[str, float]]]) -> Figure:
    """Training loss over epochs, one line a run."""
    figure = new_figure(3.0)
    axes = figure.subplots()
    for style, (name, history) in zip(LINES, histories.items(), strict=False):
        share = np.linspace(0, 1, len(history) + 1)[1:]
        axes.plot(share, [row["loss"] for row in history], style, color=INK, label=name)
    axes.set_xlabel("share of the training done")
    axes.set_ylabel("training loss (nats)")
    axes.legend()
    return figure


def _with_interval(
    axes: Axes, places: npt.NDArray, rows: pd.DataFrame, group: str, column: str
) -> None:
    error = [rows[column] - rows["low"], rows["high"] - rows[column]]
    axes.errorbar(places, rows[column], yerr=error, color=COLORS[group], marker=MARKERS[group],
                  ms=6, capsize=3, label=NAMES[group])  # fmt: skip


def _hollow(axes: Axes, places: Any, values: Any, group: str) -> None:
    """What the post reports, as hollow marks."""
    axes.plot(places, values, MARKERS[group], mfc="none", mec=INK, ms=8, ls="none", zorder=5)


def _accuracy_axis(axes: Axes) -> None:
    axes.set_ylabel("test accuracy (%)")
    axes.grid(axis="y")
    _legend(axes)


def _legend(axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if any(line.get_markerfacecolor() == "none" for line in axes.lines):
        handles.append(axes.plot([], [], "o", mfc="none", mec=INK)[0])
        labels.append("hollow: the post")
    axes.figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))


def _first(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    return next(iter(tables.values()))
