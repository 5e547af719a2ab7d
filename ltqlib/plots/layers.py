"""Sensitivity and ranks of layers, and allocations beside random ones."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure

from ltqlib.plots.marks import COLORS
from ltqlib.style import BODY, INK, NORM, TAIL, new_figure


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


def expected_and_found(table: pd.DataFrame) -> Figure:
    """Class losses that the additive model expected over those that were found, in points.

    Columns of ``table``: ``objective``, ``group`` (head or tail), ``expected``, ``found``.
    """
    objectives = list(dict.fromkeys(table["objective"]))
    figure = new_figure(3.2)
    panels = np.atleast_1d(figure.subplots(1, len(objectives), sharex=True, sharey=True))
    low = float(table[["expected", "found"]].min().min())
    high = float(table[["expected", "found"]].max().max())
    for axes, objective in zip(panels, objectives, strict=True):
        axes.plot([low, high], [low, high], color=NORM, lw=1)
        for group in ("head", "tail"):
            rows = table[(table["objective"] == objective) & (table["group"] == group)]
            axes.plot(rows["expected"], rows["found"], "o", ms=3, color=COLORS[group], label=group)
        axes.set_title(objective)
    figure.supxlabel("expected loss (points)", fontsize=BODY)
    panels[0].set_ylabel("loss found (points)")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2)
    return figure
