"""What the widths of a network buy on a device."""

import pandas as pd
from matplotlib.figure import Figure

from ltqlib.paper.marks import name_marks, reach
from ltqlib.paper.style import HEAD, NORM, TAIL, new_figure


def shipping(rows: pd.DataFrame) -> Figure:
    """Tail accuracy over the size of the file, and over the measured time with its quartiles.

    Args:
        rows: ``kind`` (in the index), ``tail`` (percent), ``megabytes``, and ``ms``, ``low``,
            ``high`` (milliseconds) of each configuration.
    """
    figure = new_figure(3.2)
    left, right = figure.subplots(1, 2, sharey=True)
    for color, (kind, each) in zip((NORM, TAIL, HEAD), rows.groupby(level="kind"), strict=False):
        spread = reach(each.rename(columns={"ms": "value"}))
        left.plot(each["megabytes"], each["tail"], "o", color=color, label=kind)
        right.errorbar(each["ms"], each["tail"], xerr=spread, fmt="o", capsize=2, color=color)
    left.set(xlabel="file (MB)", ylabel="tail accuracy (%)")
    right.set(xlabel="measured time of one image (ms)")
    for axes in (left, right):
        axes.set_xlim(left=0)
        axes.grid(axis="y")
    name_marks(left, 3)
    return figure
