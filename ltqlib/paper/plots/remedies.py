"""What each remedy leaves of the loss."""

import numpy as np
from matplotlib.figure import Figure

from ltqlib.paper.marks import COLORS, MARKERS, name_marks, of_group, reach, titled_panels
from ltqlib.paper.style import INK
from ltqlib.statistics.estimate import Estimates

SHIFT = {"head": -0.15, "tail": 0.15}
FAR = 30.0  # points: the axis ends there unless all is nearer


def remedies(lost: Estimates) -> Figure:
    """Points lost by head and tail with each remedy, without and with the repair on top.

    Args:
        lost: index method, bits, repair ("as it is", then one other), group; one panel a width.
    """
    names = {n: lost.index.get_level_values(n) for n in ("method", "bits", "repair")}
    methods, widths, repairs = (list(dict.fromkeys(each)) for each in names.values())
    figure, panels = titled_panels(0.45 * len(methods) + 1.6, [f"{b} bits" for b in widths])
    for axes, bits in zip(panels, widths, strict=True):
        for group, shift in SHIFT.items():
            for repair, fill in zip(repairs, ("none", "full"), strict=False):
                chosen = (names["bits"] == bits) & (names["repair"] == repair)
                rows = of_group(lost[chosen], group).droplevel(["bits", "repair"]).loc[methods]
                label = f"{group}, {'as it is' if fill == 'none' else 'after the repair'}"
                axes.errorbar(rows["value"], np.arange(len(methods)) + shift, xerr=reach(rows),
                              fmt=MARKERS[group], fillstyle=fill, color=COLORS[group], ms=6,
                              lw=1, capsize=2, label=label)  # fmt: skip
        axes.axvline(0, color=INK, lw=0.8)
        axes.grid(axis="x")
        axes.set_xlabel("points lost")
        axes.set_xlim(right=min(FAR, axes.get_xlim()[1]))
    panels[0].set_yticks(range(len(methods)), methods)
    panels[0].invert_yaxis()
    name_marks(panels[0], 2)
    return figure
