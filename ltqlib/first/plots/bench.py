"""LTQ-Bench: scores of proxies, and true losses over what a proxy says."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ltqlib.first.bench.columns import Array
from ltqlib.first.plots.marks import COLORS, MARKERS
from ltqlib.first.style import BODY, FAINT, INK, NORM, TAIL, new_figure


def leaderboard(table: pd.DataFrame, references: Mapping[str, float], target: float) -> Figure:
    """Rank correlation of each proxy with the loss of the tail and of all classes, with intervals.

    Rows of ``table``: one a ``proxy`` and ``group`` (``tail`` or ``norm``), with ``spearman``,
    ``low`` and ``high``; the best for the tail comes on top. ``references`` are dashed lines.
    """
    tail = table[table["group"] == "tail"].sort_values("spearman", ascending=False)
    names = tail["proxy"].tolist()
    figure = new_figure(0.235 * len(names) + 1.3)
    axes = figure.subplots()
    labels = {"tail": "loss of the tail", "norm": "loss of all classes"}
    for group, shift in (("tail", -0.15), ("norm", 0.15)):
        rows = table[table["group"] == group].set_index("proxy").loc[names]
        error = [rows["spearman"] - rows["low"], rows["high"] - rows["spearman"]]
        axes.errorbar(rows["spearman"], np.arange(len(names)) + shift, xerr=error, ls="none",
                      color=COLORS[group], marker=MARKERS[group], ms=4.5, lw=1.2,
                      label=labels[group])  # fmt: skip
    axes.axvline(target, color=INK, lw=1, label="target")
    for (name, value), style in zip(references.items(), ("--", ":"), strict=False):
        axes.axvline(value, color=TAIL, ls=style, lw=1.2, label=name)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(axis="x", color=FAINT)
    axes.set_xlabel("Spearman's rank correlation with the true loss, 95 % interval")
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def losses_over_proxy(panels: Mapping[str, tuple[Array, Array]]) -> Figure:
    """True loss of the tail over what a proxy says, one panel a proxy.

    ``panels[name]`` holds what it says of each configuration and the loss in points, both (M,).
    """
    figure = new_figure(3.0)
    for axes, (name, (predicted, lost)) in zip(
        np.atleast_1d(figure.subplots(1, len(panels), sharey=True)), panels.items(), strict=True
    ):
        axes.plot(predicted, lost, ".", ms=3, alpha=0.4, mew=0, color=NORM, rasterized=True)
        axes.set_title(name, fontsize=BODY)
        axes.grid(axis="y", color=FAINT)
    figure.axes[0].set_ylabel("true loss of the tail (points)")
    figure.supxlabel("what the proxy says", fontsize=BODY)
    return figure
