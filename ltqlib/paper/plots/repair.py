"""The repair without labels."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ltqlib.paper.marks import COLORS, name_marks, of_group, reach, titled_panels, with_interval
from ltqlib.paper.style import INK
from ltqlib.statistics.estimate import Estimates

BEFORE = "as it is"
SHAPES = "oDs^v"


def repair_sizes(lost: Estimates, plain: Estimates) -> Figure:
    """Points lost after the repair over the number of unlabelled images, one panel a way.

    Args:
        lost: index way, images, group.
        plain: index group: the losses without a repair, as dashed lines.
    """
    ways = list(dict.fromkeys(lost.index.get_level_values(0)))
    figure, panels = titled_panels(3.6, ways)
    for axes, way in zip(panels, ways, strict=True):
        rows = lost.loc[way]
        sizes = list(dict.fromkeys(rows.index.get_level_values("images")))
        for group in ("head", "tail"):
            axes.axhline(plain["value"][group], color=COLORS[group], ls="--", lw=1)
            with_interval(axes, np.arange(len(sizes)), of_group(rows, group), group)
        axes.set_xticks(range(len(sizes)), [f"{size:,}" for size in sizes])
        axes.set_xlabel("unlabelled images")
    panels[0].set_ylabel("points lost at 4 bits")
    name_marks(panels[0], 2)
    return figure


def before_after(lost: Estimates) -> Figure:
    """Losses after the repair over the same losses before it, one panel for head and tail each.

    Args:
        lost: index with the levels bits, repair ("as it is" and one other) and group.
    """
    figure, panels = titled_panels(4.2, ["head", "tail"])
    for axes, group in zip(panels, ("head", "tail"), strict=True):
        rows = of_group(lost, group)
        before: Any = rows.xs(BEFORE, level="repair")
        after = pd.DataFrame(rows.drop(index=BEFORE, level="repair")).droplevel("repair")
        after = after.loc[before.index]
        widths = before.index.get_level_values("bits")
        for shape, bits in zip(SHAPES, dict.fromkeys(widths), strict=False):
            x, y = before[widths == bits], after[widths == bits]
            axes.errorbar(x["value"], y["value"], yerr=reach(y), xerr=reach(x), fmt=shape, ms=6,
                          lw=0.6, color=COLORS[group], label=f"{bits} bits")  # fmt: skip
        most = float(before["value"].max())
        axes.plot([0, most], [0, most], color=INK, lw=0.8)
        axes.axhline(0, color=INK, lw=0.8)
        axes.set_xlabel("points lost as it is")
    panels[0].set_ylabel("points lost after the repair")
    for axes in panels:
        axes.legend()
    return figure
