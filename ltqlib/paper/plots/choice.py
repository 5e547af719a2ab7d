"""The candidates from which a recipe is chosen."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ltqlib.paper.marks import COLORS, MARKERS, NAMES, name_marks, of_group, reach, titled_panels
from ltqlib.statistics.estimate import Estimates

SHIFT = {"plain": -0.15, "smoothed": 0.15}
FILL = {"plain": "none", "smoothed": "full"}


def candidates(held_out: Estimates) -> Figure:
    """Accuracy on held-out training images, one row a recipe, one panel a group.

    Args:
        held_out: accuracies in percent, index recipe, labels ("plain" or "smoothed", of the second
            stage), group. Rows are in their order.
    """
    names = list(dict.fromkeys(held_out.index.get_level_values("recipe")))
    figure, panels = titled_panels(0.42 * len(names) + 1.7, list(NAMES.values()))
    for axes, group in zip(panels, NAMES, strict=True):
        rows = of_group(held_out, group)
        for labels, shift in SHIFT.items():
            chosen = pd.DataFrame(rows.xs(labels, level="labels")).loc[names]
            axes.errorbar(chosen["value"], np.arange(len(names)) + shift, xerr=reach(chosen),
                          fmt=MARKERS[group], fillstyle=FILL[labels], color=COLORS[group], ms=6,
                          lw=1, capsize=2, label=f"{labels} labels")  # fmt: skip
        axes.set_xlabel("accuracy (%)")
        axes.grid(axis="x")
    panels[0].set_yticks(range(len(names)), names)
    panels[0].invert_yaxis()
    name_marks(panels[0], 2)
    return figure
