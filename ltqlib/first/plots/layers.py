"""Sensitivity and ranks of layers, and allocations beside random ones."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ltqlib.first.plots.marks import COLORS, MARKERS, NAMES
from ltqlib.first.style import BODY, HEAD, INK, NORM, SMALL, TAIL, new_figure


def rank_changes(ranks: pd.DataFrame, top: int = 9) -> Figure:
    """Ranks of the layers by overall and by tail accuracy, joined by lines (figure 9).

    The ``top`` layers are those that lose most; a layer that moves by three ranks or more is red.
    """
    figure = new_figure(4.6, 5.2)
    axes = figure.subplots()
    shown = ranks[(ranks["norm"] <= top) | (ranks["tail"] <= top)]
    for layer, row in shown.iterrows():
        moved = abs(row["norm"] - row["tail"]) >= 3
        axes.plot([0, 1], [row["norm"], row["tail"]], "-o", ms=6,
                  color=TAIL if moved else NORM, lw=2.5 if moved else 1.3)  # fmt: skip
        axes.text(-0.06, row["norm"], str(layer), ha="right", va="center")
        axes.text(1.06, row["tail"], str(layer), ha="left", va="center")
    axes.axhline(top + 0.5, color=NORM, ls=":", lw=1)
    axes.set_xlim(-0.4, 1.4)
    axes.invert_yaxis()
    axes.set_xticks([0, 1], ["by overall accuracy", "by tail accuracy"])
    axes.set_yticks(range(1, int(shown.to_numpy().max()) + 1))
    axes.set_ylabel("rank (1: loses most)")
    axes.spines["bottom"].set_visible(False)
    return figure


def sensitivity_bars(table: pd.DataFrame) -> Figure:
    """Accuracy lost with one layer quantized, by layer, head and tail, with intervals."""
    figure = new_figure(3.6)
    axes = figure.subplots()
    layers = list(dict.fromkeys(table["layer"]))
    for shift, group in ((-0.2, "head"), (0.2, "tail")):
        rows = table[table["group"] == group].set_index("layer").loc[layers]
        error = [rows["drop"] - rows["low"], rows["high"] - rows["drop"]]
        axes.bar(np.arange(len(layers)) + shift, rows["drop"], 0.38, color=COLORS[group],
                 yerr=error, ecolor=INK, error_kw={"lw": 1}, label=group)  # fmt: skip
    axes.axhline(0, color=INK, lw=0.8)
    axes.set_xticks(range(len(layers)), layers, rotation=45)
    axes.set_ylabel("points lost")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    return figure


def against_random(random: npt.ArrayLike, marks: Mapping[str, float], label: str) -> Figure:
    """Where some values lie among those of random allocations of the same size."""
    figure = new_figure(2.2)
    axes = figure.subplots()
    values = np.sort(np.asarray(random, dtype=float))
    axes.plot(values, np.zeros_like(values), "|", ms=18, mew=2, color=NORM, label="random rankings")
    colors = {"norm": NORM, "tail": TAIL}
    for (name, value), level in zip(marks.items(), (0.55, 0.9), strict=False):
        color = next((c for key, c in colors.items() if name.startswith(key)), INK)
        axes.plot([value, value], [-0.3, level], color=color)
        axes.text(value, level, f"{name} ", color=color, ha="right", va="top", weight="bold")
    axes.set_ylim(-0.5, 1.1)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(label)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1))
    return figure


def expected_and_found(table: pd.DataFrame) -> Figure:
    """Class losses that the additive model expected over those that were found, in points.

    Columns of ``table``: ``objective``, ``group`` (head or tail), ``expected``, ``found``.
    """
    objectives = list(dict.fromkeys(table["objective"]))
    figure = new_figure(3.2)
    panels = np.atleast_1d(figure.subplots(1, len(objectives), sharex=True, sharey=True))
    low = float(table[["expected", "found"]].min().min())
    high = float(table[["expected", "found"]].max().max())
    for axes, objective in zip(panels, objectives, strict=True):
        axes.plot([low, high], [low, high], color=NORM, lw=1)
        for group in ("head", "tail"):
            rows = table[(table["objective"] == objective) & (table["group"] == group)]
            axes.plot(rows["expected"], rows["found"], "o", ms=3, color=COLORS[group], label=group)
        axes.set_title(objective)
    figure.supxlabel("expected loss (points)", fontsize=BODY)
    panels[0].set_ylabel("loss found (points)")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2)
    return figure


FACTOR_MARKS = (("o", HEAD), ("s", NORM), ("D", TAIL))  # of each imbalance factor


def changes_by_method(table: pd.DataFrame, low: float = -25.0) -> Figure:
    """Change of the tail and of the worst class against float, by method and imbalance factor.

    Args:
        table: a row a ``factor``, ``method`` and ``group`` (tail, worst): ``change``, ``low``,
            ``high`` in points.
        low: changes below it, in points, are drawn as arrows at the edge.
    """
    methods = list(dict.fromkeys(table["method"]))[::-1]
    factors = sorted(table["factor"].unique(), reverse=True)
    figure = new_figure(0.36 * len(methods) + 1.2)
    panels = figure.subplots(1, 2, sharey=True)
    for axes, group, title in zip(panels, ("tail", "worst"), ("tail", "worst class"), strict=True):
        shifts = 0.26 * (np.arange(len(factors))[::-1] - (len(factors) - 1) / 2)
        for (mark, color), shift, factor in zip(FACTOR_MARKS, shifts, factors, strict=False):
            rows = table[(table["factor"] == factor) & (table["group"] == group)]
            places = np.array([methods.index(name) for name in rows["method"]]) + shift
            _with_limit(axes, rows, places, low, mark, color, f"IF {factor:g}")
        axes.axvline(0, color=INK, lw=0.8)
        axes.set_xlim(low - 1, min(axes.get_xlim()[1], -low))  # an interval may leave the panel
        axes.set_title(title)
        axes.grid(axis="x")
    panels[0].set_yticks(range(len(methods)), methods)
    figure.supxlabel("change against float (points)", fontsize=BODY)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    return figure


def _with_limit(
    axes: Axes,
    rows: pd.DataFrame,
    places: npt.NDArray,
    low: float,
    mark: str,
    color: str,
    label: str,
) -> None:
    """Marks with intervals; what lies below ``low`` becomes an arrow at the edge."""
    inside = (rows["change"] >= low).to_numpy()
    shown = rows[inside]
    error = [
        (shown["change"] - shown["low"]).fillna(0),
        (shown["high"] - shown["change"]).fillna(0),
    ]
    axes.errorbar(shown["change"], places[inside], xerr=error, fmt=mark, ms=4, lw=1.2, color=color,
                  label=label)  # fmt: skip
    axes.plot(np.full((~inside).sum(), low), places[~inside], "<", ms=5, color=color)


def agreement_dots(table: pd.DataFrame) -> Figure:
    """Rank correlation of every metric with the loss of head, tail and all classes, by metric.

    Columns of ``table``: ``metric``, ``group``, ``correlation``, ``low``, ``high``.
    """
    names = list(dict.fromkeys(table["metric"]))[::-1]
    figure = new_figure(0.36 * len(names) + 1.0)
    axes = figure.subplots()
    for shift, group in ((0.22, "norm"), (0.0, "head"), (-0.22, "tail")):
        rows = table[table["group"] == group]
        places = np.array([names.index(name) for name in rows["metric"]]) + shift
        error = [
            (rows["correlation"] - rows["low"]).fillna(0),
            (rows["high"] - rows["correlation"]).fillna(0),
        ]
        axes.errorbar(rows["correlation"], places, xerr=error, fmt=MARKERS[group], ms=5, lw=1.2,
                      color=COLORS[group], label=NAMES[group])  # fmt: skip
    axes.axvline(0, color=INK, lw=0.8)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("Spearman correlation with the accuracy lost")
    axes.grid(axis="x")
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3)
    return figure


def metric_ranks(table: pd.DataFrame) -> Figure:
    """Ranks of the layers by every metric as shades: dark is most sensitive."""
    figure = new_figure(0.32 * len(table) + 0.9)
    axes = figure.subplots()
    image = axes.imshow(
        table.to_numpy(), cmap="Blues_r", aspect="auto", vmin=1, vmax=table.shape[1]
    )
    for (row, column), rank in np.ndenumerate(table.to_numpy()):
        dark = rank < 0.4 * table.shape[1]
        axes.text(column, row, f"{rank:.0f}", ha="center", va="center", fontsize=SMALL,
                  color="white" if dark else INK)  # fmt: skip
    axes.axhline(1.5, color="white", lw=3)
    axes.set_xticks(range(table.shape[1]), list(table.columns))
    axes.set_yticks(range(len(table)), list(table.index))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    figure.colorbar(image, ax=axes, label="rank (1: most sensitive)", shrink=0.8)
    return figure
