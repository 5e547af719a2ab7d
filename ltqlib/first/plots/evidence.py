"""Verdicts on claims, and the control for class identity."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ltqlib.first.style import BODY, FAINT, HEAD, INK, NORM, TAIL, new_figure

CLASS_COLORS = mpl.colormaps["viridis"]  # from class 0 to class 9


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


def over_frequency(panels: Mapping[str, pd.DataFrame], classes: Sequence[str]) -> Figure:
    """A value of each class over its training images, two panels a row, one line a class.

    Each table has the columns ``class`` (label), ``count`` and ``value``; a point is the mean over
    the seeds of a class order, and the line joins the orders in which that class is more or less
    frequent."""
    rows_of_panels = -(-len(panels) // 2)
    figure = new_figure(2.6 * rows_of_panels + 0.9)
    axes_of = figure.subplots(rows_of_panels, 2, sharex=True, sharey="row", squeeze=False).flat
    for axes, (title, table) in zip(axes_of, panels.items(), strict=False):
        for label, name in enumerate(classes):
            mean = table[table["class"] == label].groupby("count")["value"].mean()
            color = CLASS_COLORS(label / (len(classes) - 1))
            axes.plot(mean.index, mean, "-o", ms=4, lw=1, color=color, label=name)
        axes.set_xscale("log")
        axes.set_title(title)
        axes.grid(axis="y")
        axes.set_xlabel("training images of the class")
        axes.label_outer()
    figure.supylabel("points", fontsize=BODY)
    handles, labels = axes_of[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5)
    return figure


def decomposition(table: pd.DataFrame) -> Figure:
    """What rarity and what class identity contribute to head-tail differences, with intervals.

    Rows of ``table``: one a difference (column ``what``) and ``part`` (``total``, ``rarity`` or
    ``identity``), with ``value``, ``low`` and ``high`` in points.
    """
    parts = {"total": INK, "rarity": TAIL, "identity": NORM}
    names = list(dict.fromkeys(table["what"]))
    figure = new_figure(0.75 * len(names) + 1.2)
    axes = figure.subplots()
    for (part, color), shift in zip(parts.items(), (-0.24, 0, 0.24), strict=True):
        rows = table[table["part"] == part].set_index("what").loc[names]
        error = [rows["value"] - rows["low"], rows["high"] - rows["value"]]
        axes.errorbar(rows["value"], np.arange(len(names)) + shift, xerr=error, fmt="o",
                      color=color, capsize=3, label=part)  # fmt: skip
    axes.axvline(0, color=INK, lw=1)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.grid(axis="x", color=FAINT)
    axes.set_xlabel("points, 95 % interval")
    figure.legend(loc="outside upper center", ncols=3)
    return figure
