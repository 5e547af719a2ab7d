"""The repair without labels."""

import numpy as np
from matplotlib.figure import Figure

from ltqlib.paper.marks import COLORS, name_marks, of_group, titled_panels, with_interval
from ltqlib.statistics.estimate import Estimates


def repair_sizes(lost: Estimates, plain: Estimates) -> Figure:
    """Points lost after the repair over the number of unlabelled images, one panel a mix.

    Args:
        lost: index mix, images, group.
        plain: index group: the losses without a repair, as dashed lines.
    """
    mixes = list(dict.fromkeys(lost.index.get_level_values("mix")))
    figure, panels = titled_panels(3.6, mixes)
    for axes, mix in zip(panels, mixes, strict=True):
        rows = lost.loc[mix]
        sizes = list(dict.fromkeys(rows.index.get_level_values("images")))
        for group in ("head", "tail"):
            axes.axhline(plain["value"][group], color=COLORS[group], ls="--", lw=1)
            with_interval(axes, np.arange(len(sizes)), of_group(rows, group), group)
        axes.set_xticks(range(len(sizes)), [f"{size:,}" for size in sizes])
        axes.set_xlabel("unlabelled images")
    panels[0].set_ylabel("points lost at 4 bits")
    name_marks(panels[0], 2)
    return figure
