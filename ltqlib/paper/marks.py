"""Marks that the figures share: colours of groups, intervals, hollow marks of the post, legends."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ltqlib.paper.style import HEAD, INK, NORM, TAIL, new_figure

COLORS = {"norm": NORM, "head": HEAD, "tail": TAIL}
MARKERS = {"norm": "s", "head": "o", "tail": "D"}
NAMES = {"norm": "all classes", "head": "head", "tail": "tail"}


def titled_panels(height: float, titles: Sequence[str]) -> tuple[Figure, list[Axes]]:
    """Panels side by side with one vertical axis and a grid, one for each title."""
    figure = new_figure(height)
    panels = list(figure.subplots(1, len(titles), sharey=True, squeeze=False)[0])
    for axes, title in zip(panels, titles, strict=True):
        axes.set_title(title)
        axes.grid(axis="y")
    return figure, panels


def name_marks(axes: Axes, columns: int) -> None:
    """One legend above the figure, from the marks of one of its panels."""
    handles, labels = axes.get_legend_handles_labels()
    axes.figure.legend(handles, labels, loc="outside upper center", ncols=columns)


def with_interval(axes: Axes, places: Any, rows: pd.DataFrame, group: str, **looks: Any) -> None:
    """Estimates of a group over ``places``, each with its interval; NaN leaves a gap."""
    values, error = rows["value"].to_numpy(), reach(rows)
    usual: dict[str, Any] = {
        "color": COLORS.get(group, INK),
        "marker": MARKERS.get(group, "o"),
        "label": NAMES.get(group, group),
        "capsize": 3,
        "ms": 6,
    }
    axes.errorbar(places, values, yerr=error, **usual | looks)


def reach(rows: pd.DataFrame) -> npt.NDArray[np.float64]:
    """How far intervals reach below and above their values, (2, rows)."""
    return np.abs(np.stack([rows["value"] - rows["low"], rows["high"] - rows["value"]]))


def hollow(axes: Axes, places: Any, values: Any, group: str) -> None:
    """What the post reports, as hollow marks."""
    if np.size(values):  # nothing to show, nothing to name in the legend
        axes.plot(places, values, MARKERS[group], mfc="none", mec=INK, ms=8, ls="none", zorder=5)


def legend(axes: Axes) -> None:
    """One legend above the figure; hollow marks are named where there are any."""
    handles, labels = axes.get_legend_handles_labels()
    if any(line.get_markerfacecolor() == "none" for line in axes.lines):
        handles.append(axes.plot([], [], "o", mfc="none", mec=INK)[0])
        labels.append("hollow: the post")
    axes.figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))


def of_group(table: pd.DataFrame, group: str) -> pd.DataFrame:
    """The rows of one group, without that level of the index."""
    rows: Any = pd.DataFrame(table).xs(group, level="group")
    return rows


def at_bits(table: pd.DataFrame, bits: int) -> pd.DataFrame:
    """The rows of one width, without that level of the index."""
    rows: Any = pd.DataFrame(table).xs(bits, level="bits")
    return rows
