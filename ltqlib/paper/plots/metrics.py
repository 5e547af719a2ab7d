"""How well metrics of layers, and proxies of configurations, foretell losses."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from ltqlib.paper.marks import COLORS, MARKERS, name_marks, of_group, reach
from ltqlib.paper.style import INK, new_figure
from ltqlib.statistics.estimate import Estimates

LOSSES = (("tail", "tail, as it is", "full", -0.14),
          ("tail, equal head", "tail at equal head accuracy", "none", 0.14))  # fmt: skip


def rank_correlations(panels: Mapping[str, Estimates], names: Mapping[str, str]) -> Figure:
    """Rank correlations with the two losses of the tail, one row a metric, one panel a table.

    Args:
        panels: estimates by title, with the index metric (or proxy), group.
        names: what is shown and what it is called, from top to bottom.
    """
    figure = new_figure(1.1 + 0.28 * len(names))
    columns = list(figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0])
    places = np.arange(len(names))
    for axes, (title, table) in zip(columns, panels.items(), strict=True):
        for group, label, fill, shift in LOSSES:
            rows = of_group(table, group).loc[list(names)]
            axes.errorbar(rows["value"], places + shift, xerr=reach(rows), fmt=MARKERS["tail"],
                          color=COLORS["tail"], fillstyle=fill, capsize=2, ms=5, lw=1.2,
                          label=label)  # fmt: skip
        axes.axvline(0, color=INK, lw=0.8)
        axes.set_title(title)
        axes.set_yticks(places, list(names.values()))
        axes.set_xlabel("rank correlation with the loss")
        axes.grid(axis="both")
    columns[0].invert_yaxis()
    name_marks(columns[0], 2)
    return figure
