"""Marks that the figures share: colours of groups, intervals, hollow marks of the post, legends."""

from typing import Any

import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes

from ltqlib.first.style import HEAD, INK, NORM, TAIL

COLORS = {"norm": NORM, "head": HEAD, "tail": TAIL}
MARKERS = {"norm": "s", "head": "o", "tail": "D"}
NAMES = {"norm": "all classes", "head": "head", "tail": "tail"}


def with_interval(
    axes: Axes, places: npt.NDArray, rows: pd.DataFrame, group: str, column: str
) -> None:
    """Points of a group over ``places`` with the interval in the columns ``low`` and ``high``."""
    error = [rows[column] - rows["low"], rows["high"] - rows[column]]
    axes.errorbar(places, rows[column], yerr=error, color=COLORS[group], marker=MARKERS[group],
                  ms=6, capsize=3, label=NAMES[group])  # fmt: skip


def hollow(axes: Axes, places: Any, values: Any, group: str) -> None:
    """What the post reports, as hollow marks."""
    axes.plot(places, values, MARKERS[group], mfc="none", mec=INK, ms=8, ls="none", zorder=5)


def accuracy_axis(axes: Axes) -> None:
    """The axis of test accuracy, a grid, and the legend."""
    axes.set_ylabel("test accuracy (%)")
    axes.grid(axis="y")
    legend(axes)


def legend(axes: Axes) -> None:
    """One legend above the figure; hollow marks are named where there are any."""
    handles, labels = axes.get_legend_handles_labels()
    if any(line.get_markerfacecolor() == "none" for line in axes.lines):
        handles.append(axes.plot([], [], "o", mfc="none", mec=INK)[0])
        labels.append("hollow: the post")
    axes.figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
