"""Every tested difference of the claims."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ltqlib.paper.style import HEAD, INK, NORM, TAIL, new_figure

COLORS = {"reproduced": HEAD, "not reproduced": TAIL, "inside the noise": NORM}


def claims_forest(ledger: pd.DataFrame) -> Figure:
    """One line a difference in points with its interval, coloured by the verdict of its claim."""
    rows = ledger[ledger["unit"] == "points"].dropna(subset=["value"]).reset_index(drop=True)
    figure = new_figure(0.32 * len(rows) + 1.2)
    axes = figure.subplots()
    for place, (_, row) in enumerate(rows.iterrows()):
        error = [[row["value"] - row["low"]], [row["high"] - row["value"]]]
        axes.errorbar(row["value"], place, xerr=error, fmt="o", ms=5, capsize=2,
                      color=COLORS.get(row["verdict"], INK))  # fmt: skip
    axes.axvline(0, color=INK, lw=0.8)
    axes.set_yticks(np.arange(len(rows)), list(rows["measured"]))
    axes.invert_yaxis()
    axes.set_xlabel("points; right of zero supports the claim")
    axes.grid(axis="x")
    for verdict, color in COLORS.items():
        axes.plot([], [], "o", color=color, label=verdict)
    figure.legend(loc="outside upper center", ncols=3)
    return figure
