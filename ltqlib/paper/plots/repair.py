"""The repair without labels."""

import numpy as np
from matplotlib.figure import Figure

from ltqlib.paper.marks import COLORS, of_group, with_interval
from ltqlib.paper.style import new_figure
from ltqlib.statistics.estimate import Estimates


def repair_sizes(lost: Estimates, plain: Estimates) -> Figure:
    """Points lost after the repair over the number of unlabelled images, one panel a mix.

    Args:
        lost: index mix, images, group.
        plain: index group: the losses without a repair, as dashed lines.
    """
    mixes = list(dict.fromkeys(lost.index.get_level_values("mix")))
    figure = new_figure(3.6)
    panels = figure.subplots(1, len(mixes), sharey=True, squeeze=False)[0]
    for axes, mix in zip(panels, mixes, strict=True):
        rows = lost.loc[mix]
        sizes = list(dict.fromkeys(rows.index.get_level_values("images")))
        for group in ("head", "tail"):
            axes.axhline(plain.loc[group, "value"], color=COLORS[group], ls="--", lw=1)
            with_interval(axes, np.arange(len(sizes)), of_group(rows, group), group)
        axes.set_xticks(range(len(sizes)), [f"{size:,}" for size in sizes])
        axes.set_xlabel("unlabelled images")
        axes.set_title(mix)
        axes.grid(axis="y")
    panels[0].set_ylabel("points lost at 4 bits")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2)
    return figure
