"""Sensitivity and ranks of layers, and mixed precision beside its null."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure

from ltqlib.paper.marks import COLORS, MARKERS, hollow, of_group, reach
from ltqlib.paper.style import ACCENT, INK, NORM, TAIL, new_figure
from ltqlib.statistics.estimate import Estimates

# groups of a loss, how far their marks stand apart, and how they are filled
THREE = (("head", -0.22, "full"), ("tail", 0.0, "full"), ("tail, equal head", 0.22, "none"))


def sensitivity_bars(lost: Estimates) -> Figure:
    """Accuracy lost with one layer quantized, head and tail; index layer, group."""
    figure = new_figure(3.6)
    axes = figure.subplots()
    layers = list(dict.fromkeys(lost.index.get_level_values("layer")))
    for shift, group in ((-0.2, "head"), (0.2, "tail")):
        rows = of_group(lost, group).loc[layers]
        axes.bar(np.arange(len(layers)) + shift, rows["value"], 0.38, color=COLORS[group],
                 yerr=reach(rows), ecolor=INK, error_kw={"lw": 1}, label=group)  # fmt: skip
    axes.axhline(0, color=INK, lw=0.8)
    axes.set_xticks(range(len(layers)), layers, rotation=45)
    axes.set_ylabel("points lost")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    return figure


def rank_changes(ranks: pd.DataFrame, top: int = 9) -> Figure:
    """Ranks of the layers by the columns of ``ranks``, joined by lines (figure 9 of the post).

    Shown are the layers that are among the ``top`` in some column; a layer whose rank moves by
    three or more between neighbouring columns is red.
    """
    figure = new_figure(4.6, 5.6)
    axes = figure.subplots()
    shown = ranks[(ranks <= top).any(axis=1)]
    places = np.arange(ranks.shape[1])
    for layer, row in shown.iterrows():
        moved = (abs(np.diff(row)) >= 3).any()
        axes.plot(places, row, "-o", ms=6, color=TAIL if moved else NORM, lw=2 if moved else 1.2)
        axes.text(-0.06, row.iloc[0], str(layer), ha="right", va="center")
        axes.text(places[-1] + 0.06, row.iloc[-1], str(layer), ha="left", va="center")
    axes.axhline(top + 0.5, color=NORM, ls=":", lw=1)
    axes.set_xlim(-0.4, places[-1] + 0.4)
    axes.invert_yaxis()
    axes.set_xticks(places, list(ranks.columns))
    axes.set_yticks(range(1, int(shown.to_numpy().max()) + 1))
    axes.set_ylabel("rank (1: loses most)")
    axes.spines["bottom"].set_visible(False)
    return figure


def mixed_gains(lost: Estimates, random: npt.ArrayLike | None = None) -> Figure:
    """What head and tail lose under mixed precision, and the tail at equal head accuracy.

    Args:
        lost: index configuration, group (head, tail, "tail, equal head").
        random: (M,) what the tail loses at equal head accuracy under random rankings, as ticks.
    """
    figure = new_figure(3.4)
    axes = figure.subplots()
    names = list(dict.fromkeys(lost.index.get_level_values("configuration")))
    for places, rows, looks in _three_marks(lost, names):
        axes.errorbar(places, rows["value"], yerr=reach(rows), capsize=3, **looks)
    if random is not None:
        values = np.asarray(random, float)
        axes.plot(np.full(len(values), len(names) - 1 + 0.6), values, "_", ms=14, color=NORM,
                  label="random rankings, tail at equal head accuracy")  # fmt: skip
    axes.axhline(0, color=INK, lw=0.8)
    axes.set_xticks(range(len(names)), names)
    axes.set_ylabel("points lost")
    axes.grid(axis="y")
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def ranking_gains(change: Estimates, by: str = "the tail") -> Figure:
    """What another ranking changes, one row a network: head, tail, tail at equal head accuracy.

    Args:
        change: index network, group (head, tail, "tail, equal head"), in points.
        by: what the layers are ranked by, for the label.
    """
    names = list(dict.fromkeys(change.index.get_level_values("network")))
    figure = new_figure(0.42 * len(names) + 1.2)
    axes = figure.subplots()
    for places, rows, looks in _three_marks(change, names):
        axes.errorbar(rows["value"], places, xerr=reach(rows), capsize=2, ms=5, **looks)
    axes.axvline(0, color=INK, lw=0.8)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel(f"points gained by ranking by {by}")
    axes.grid(axis="x")
    figure.legend(loc="outside upper center", ncols=3)
    return figure


def _three_marks(
    table: Estimates, names: list[str]
) -> Iterator[tuple[npt.NDArray[Any], pd.DataFrame, dict[str, Any]]]:
    """Places, estimates and looks of the marks of head, tail, and tail at equal head accuracy."""
    for group, shift, fill in THREE:
        key = group.split(",")[0]
        looks: dict[str, Any] = {
            "fmt": MARKERS[key],
            "color": COLORS[key],
            "fillstyle": fill,
            "label": group.replace(", equal head", " at equal head accuracy"),
        }
        yield np.arange(len(names)) + shift, of_group(table, group).loc[names], looks


def class_accuracy(
    accuracy: Estimates, change: Estimates, post: Sequence[Sequence[float]] | None = None
) -> Figure:
    """Accuracy by class of two configurations, and under it their difference (figure 10).

    Args:
        accuracy: index configuration, class.
        change: index class; the second configuration less the first.
        post: accuracies by class of both, as hollow marks.
    """
    figure = new_figure(4.8)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    names = list(dict.fromkeys(accuracy.index.get_level_values("configuration")))[:2]
    classes = list(change.index)
    places = np.arange(len(classes))
    for name, shift, color in zip(names, (-0.2, 0.2), (NORM, ACCENT), strict=True):
        upper.bar(places + shift, accuracy.loc[name]["value"], 0.38, color=color, label=name)
    lower.bar(places, change["value"], 0.6, color=INK, yerr=reach(change), ecolor=NORM, capsize=2)
    lower.axhline(0, color=INK, lw=0.8)
    if post is not None and len(post[0]) == len(classes):
        hollow(upper, places - 0.2, post[0], "head")
        hollow(upper, places + 0.2, post[1], "head")
        upper.plot([], [], "o", mfc="none", mec=INK, label="the post")
    upper.set_ylabel("test accuracy (%)")
    upper.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3)
    lower.set_ylabel("difference (points)")
    lower.set_xticks(places, classes, rotation=35, ha="right", parse_math=False)
    return figure
