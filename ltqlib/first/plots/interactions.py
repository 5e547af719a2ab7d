"""Pairs of layers: what they lose beyond the sum, and what the sum says of them."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ltqlib.first.plots.marks import COLORS
from ltqlib.first.style import BODY, INK, NORM, new_figure


def interaction_maps(
    tables: Mapping[str, pd.DataFrame], upper: int, lower: int, layers: Sequence[str]
) -> Figure:
    """Interactions of every pair of layers in points, a panel a group.

    Above the diagonal both layers have ``upper`` bits, below it ``lower``; a dot marks what the
    column ``holm`` calls different from 0 at 5 %. Tables as :func:`ltqlib.first.interactions.tested`.
    """
    figure = new_figure(4.1)
    panels = figure.subplots(1, len(tables), sharey=True)
    place = {layer: number for number, layer in enumerate(layers)}
    shown = {group: _both_triangles(table, upper, lower) for group, table in tables.items()}
    limit = max(float(rows["interaction"].abs().max()) for rows in shown.values())
    for axes, (group, rows) in zip(np.atleast_1d(panels), shown.items(), strict=True):
        grid = np.full((len(layers), len(layers)), np.nan)
        at = rows["row"].map(place).to_numpy(), rows["column"].map(place).to_numpy()
        grid[at] = rows["interaction"]
        image = axes.imshow(grid, cmap="PuOr_r", vmin=-limit, vmax=limit)
        sure = (rows["holm"] < 0.05).to_numpy()
        axes.plot(at[1][sure], at[0][sure], "o", ms=4, color=INK, mec="white")
        axes.set_title(group, color=COLORS[group])
        axes.set_xticks(range(0, len(layers), 3), list(layers)[::3])
        axes.set_yticks(range(0, len(layers), 3), list(layers)[::3])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    figure.colorbar(image, ax=panels, label="beyond the sum (points)", shrink=0.7)
    return figure


def _both_triangles(table: pd.DataFrame, upper: int, lower: int) -> pd.DataFrame:
    """Rows of two widths, with the place of each: ``row`` before ``column`` is above."""
    parts = []
    for bits, (row, column) in ((upper, ("first", "second")), (lower, ("second", "first"))):
        rows = table[(table["bits_first"] == bits) & (table["bits_second"] == bits)]
        parts.append(rows.assign(row=rows[row], column=rows[column]))
    return pd.concat(parts)


def sum_and_pair(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """What pairs lose over the sum of what each layer loses alone, in points, a panel a group.

    The sum is of one half of the test images, the pair of the other, both ways.
    """
    figure = new_figure(3.6)
    panels = np.atleast_1d(figure.subplots(1, len(tables), sharex=True, sharey=True))
    ends = []
    for axes, (group, table) in zip(panels, tables.items(), strict=True):
        for half, other in (("select", "report"), ("report", "select")):
            alone = table[f"one_{half}"] + table[f"other_{half}"]
            axes.plot(alone, table[f"both_{other}"], ".", ms=3, color=COLORS[group], alpha=0.5)
            ends += [alone.min(), alone.max(), table["both"].min(), table["both"].max()]
        axes.set_title(group, color=COLORS[group])
        axes.grid()
    for axes in panels:
        axes.plot([min(ends), max(ends)], [min(ends), max(ends)], color=INK, lw=1)
    figure.supxlabel("sum of the two alone, one half of the images (points)", fontsize=BODY)
    panels[0].set_ylabel("the pair, the other half (points)")
    return figure


def interaction_growth(tables: Mapping[str, pd.DataFrame], bins: int = 8) -> Figure:
    """Mean interaction over the sum of the single losses, and over the distance of the layers.

    Sums are of the half that the interactions are not of; bins hold equally many pairs.
    """
    figure = new_figure(3.4)
    left, right = figure.subplots(1, 2)
    for group, table in tables.items():
        parts = [
            pd.DataFrame(
                {
                    "sum": table[f"one_{half}"] + table[f"other_{half}"],
                    "interaction": table[f"interaction_{other}"],
                }
            )
            for half, other in (("select", "report"), ("report", "select"))
        ]
        both = pd.concat(parts)
        means = both.groupby(pd.qcut(both["sum"], bins, duplicates="drop"), observed=True).mean()
        left.plot(means["sum"], means["interaction"], "o-", ms=4, color=COLORS[group], label=group)
        found = table.groupby("distance")["interaction"].mean()
        right.plot(found.index, found, "o-", ms=4, color=COLORS[group], label=group)
    for axes, label in ((left, "sum of the two alone (points)"), (right, "layers apart")):
        axes.axhline(0, color=NORM, lw=1)
        axes.set_xlabel(label)
        axes.grid(axis="y")
    left.set_ylabel("mean interaction (points)")
    left.legend()
    return figure
