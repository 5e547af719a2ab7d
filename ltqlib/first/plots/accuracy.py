"""Accuracy by imbalance, training, bits and class."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ltqlib.first.plots.marks import (
    COLORS,
    MARKERS,
    NAMES,
    accuracy_axis,
    hollow,
    legend,
    with_interval,
)
from ltqlib.first.style import ACCENT, FAINT, HEAD, INK, NORM, TAIL, new_figure

LINES = ("-", "--", ":", "-.")


def class_counts(
    counts: Mapping[float, Sequence[int]], classes: Sequence[str], head: int = 4
) -> Figure:
    """Training images by class for each imbalance factor, on a logarithmic axis (figure 4)."""
    figure = new_figure(3.6)
    axes = figure.subplots()
    places = np.arange(len(classes))
    axes.axvspan(-0.5, head - 0.5, color=HEAD, alpha=0.08, lw=0)
    axes.axvspan(head - 0.5, len(classes) - 0.5, color=TAIL, alpha=0.08, lw=0)
    for style, (factor, values) in zip(LINES, counts.items(), strict=False):
        label = "balanced" if factor == 1 else f"IF {factor:g}"
        axes.plot(places, values, style, marker="o", ms=5, color=INK, label=label)
        axes.annotate(str(values[-1]), (places[-1], values[-1]), (6, -4),
                      textcoords="offset points")  # fmt: skip
    axes.set_yscale("log")
    axes.set_xticks(places, list(classes), rotation=35, ha="right")
    axes.set_xlim(-0.5, len(classes) - 0.1)
    axes.set_ylabel("training images")
    axes.text(0, axes.get_ylim()[0] * 1.25, "head", color=HEAD, weight="bold")
    axes.text(head, axes.get_ylim()[0] * 1.25, "tail", color=TAIL, weight="bold")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=4)
    return figure


def accuracy_over_imbalance(
    table: pd.DataFrame, reported: Mapping[float, Sequence[float]] | None = None
) -> Figure:
    """Norm, head and tail accuracy over the imbalance factor, one method (figure 5)."""
    figure = new_figure(3.6)
    axes = figure.subplots()
    factors = sorted(table["imbalance_factor"].unique(), reverse=True)
    places = np.arange(len(factors))
    for number, (group, rows) in enumerate(table.groupby("group", sort=False)):
        rows = rows.set_index("imbalance_factor").loc[factors]
        with_interval(axes, places + 0.06 * (number - 1), rows, str(group), "accuracy")
        if reported is not None:
            post = [reported[f][number] if f in reported else np.nan for f in factors]
            hollow(axes, places + 0.06 * (number - 1) + 0.03, post, str(group))
    names = ["balanced" if factor == 1 else f"IF {factor:g}" for factor in factors]
    axes.set_xticks(places, names)
    accuracy_axis(axes)
    return figure


def decoupling_bars(
    table: pd.DataFrame, reported: Mapping[str, Mapping[float, Sequence[float]]]
) -> Figure:
    """Head and tail accuracy, baseline beside decoupled, by imbalance factor (figure 6)."""
    figure = new_figure(3.8)
    factors = sorted(table["imbalance_factor"].unique(), reverse=True)
    panels = figure.subplots(1, len(factors), sharey=True)
    for axes, factor in zip(np.atleast_1d(panels), factors, strict=True):
        rows = table[table["imbalance_factor"] == factor].set_index(["method", "group"])
        for place, (method, post) in enumerate(zip(("baseline", "crt"), reported, strict=True)):
            for shift, group in ((-0.2, "head"), (0.2, "tail")):
                row = rows.loc[(method, group)]
                axes.bar(place + shift, row["accuracy"], 0.36, color=COLORS[group],
                         yerr=[[row["accuracy"] - row["low"]], [row["high"] - row["accuracy"]]],
                         ecolor=INK, capsize=2)  # fmt: skip
                values = reported[post].get(factor)
                if values is not None:
                    hollow(axes, [place + shift], [values[1 if group == "head" else 2]], group)
        axes.set_title(f"IF {factor:g}")
        axes.set_xticks([0, 1], ["baseline", "cRT"])
    first = np.atleast_1d(panels)[0]
    first.set_ylabel("test accuracy (%)")
    handles = [first.bar(0, 0, color=COLORS[g], label=g) for g in ("head", "tail")]
    handles.append(first.scatter([], [], marker="o", fc="none", ec=INK, label="post"))
    figure.legend(handles=handles, loc="outside upper center", ncols=3)
    return figure


def accuracy_by_network(
    table: pd.DataFrame, published: Mapping[tuple[str, float, str], float]
) -> Figure:
    """Head, tail and overall accuracy of networks; a panel a factor, a row a network and method.

    Args:
        table: columns ``network``, ``imbalance_factor``, ``method``, ``group``, ``accuracy``.
        published: overall accuracy by network, factor and method, as hollow marks.
    """
    names = list(dict.fromkeys(zip(table["network"], table["method"], strict=True)))
    factors = sorted(table["imbalance_factor"].unique(), reverse=True)
    figure = new_figure(0.34 * len(names) + 1.5)
    panels = figure.subplots(1, len(factors), sharex=True, sharey=True, squeeze=False)[0]
    for axes, factor in zip(panels, factors, strict=True):
        wide = table[table["imbalance_factor"] == factor].pivot(
            index=["network", "method"], columns="group", values="accuracy"
        )
        for place, name in enumerate(names):
            if name in wide.index:
                row = wide.loc[name]
                axes.plot(row[["head", "tail"]], [place, place], color=FAINT, lw=4, zorder=1)
                for group in ("head", "tail", "norm"):
                    axes.plot(row[group], place, MARKERS[group], color=COLORS[group], ms=6)
            hollow(axes, [published.get((name[0], factor, name[1]), np.nan)], [place], "norm")
        axes.set_title(f"IF {factor:g}")
        axes.grid(axis="x")
        axes.set_xlabel("test accuracy (%)")
    panels[0].set_yticks(range(len(names)), [f"{name}: {method}" for name, method in names])
    panels[0].invert_yaxis()
    handles = [panels[0].plot([], [], MARKERS[g], color=COLORS[g])[0] for g in COLORS]
    handles.append(panels[0].plot([], [], MARKERS["norm"], mfc="none", mec=INK, ms=8)[0])
    labels = [*(NAMES[group] for group in COLORS), "all classes, published"]
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    return figure


def bits_curve(
    tables: Mapping[str, pd.DataFrame],
    reported: Mapping[str, Mapping[int, Sequence[float]]] | None = None,
) -> Figure:
    """Head and tail accuracy over bit-width; one panel an entry of ``tables`` (figures 7, 8)."""
    figure = new_figure(3.8)
    panels = np.atleast_1d(figure.subplots(1, len(tables), sharey=True))
    for axes, (title, table) in zip(panels, tables.items(), strict=True):
        widths = sorted(table["bits"].unique(), reverse=True)
        places = np.arange(len(widths))
        for number, group in enumerate(("head", "tail")):
            rows = table[table["group"] == group].set_index("bits").loc[widths]
            rows = rows.assign(
                low=rows["accuracy"] - (rows["high"] - rows["drop"]),
                high=rows["accuracy"] + (rows["drop"] - rows["low"]),
            )
            with_interval(axes, places, rows, group, "accuracy")
            post = (reported or {}).get(title, {})
            values = [post[bits][number] if bits in post else np.nan for bits in widths]
            if post:
                hollow(axes, places, values, group)
        axes.set_xticks(places, ["float" if bits == 32 else str(bits) for bits in widths])
        axes.set_xlabel("bits")
        axes.set_title(title)
        axes.grid(axis="y")
    panels[0].set_ylabel("test accuracy (%)")
    legend(panels[-1])
    return figure


def extra_by_seed(tables: Mapping[str, pd.DataFrame], over: str = "bits") -> Figure:
    """What the tail loses beyond the head: one mark a seed, and all seeds together beside them.

    Args:
        tables: by panel; columns ``seed`` (or ``all``), ``value``, ``low``, ``high``, and ``over``.
        over: the column along the horizontal axis, its values in the order of the rows.
    """
    figure = new_figure(3.8)
    panels = np.atleast_1d(figure.subplots(1, len(tables), sharey=True))
    for axes, (title, table) in zip(panels, tables.items(), strict=True):
        groups = list(dict.fromkeys(table[over]))
        seeds = list(dict.fromkeys(table["seed"]))
        seeds.sort(key=lambda seed: seed == "all")  # the last of them
        for number, seed in enumerate(seeds):
            rows = table[table["seed"] == seed].set_index(over).reindex(groups)
            error = [rows["value"] - rows["low"], rows["high"] - rows["value"]]
            places = np.arange(len(groups)) + 0.7 * (number / len(seeds) - 0.4)
            look = {
                "fmt": "o",
                "ms": 4,
                "lw": 1,
                "color": NORM,
                "label": None if number else "one seed",
            }
            if seed == "all":
                look = {"fmt": "D", "ms": 7, "lw": 2, "color": INK, "label": "all seeds"}
            axes.errorbar(places, rows["value"], yerr=error, **look)
        _over(axes, title, groups, over)
    panels[0].set_ylabel("tail loss beyond head loss (points)")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2)
    return figure


def extra_by_factor(table: pd.DataFrame) -> Figure:
    """What the tail loses beyond the head over imbalance factors: a panel a method.

    Rows of ``table``: ``imbalance_factor``, ``method`` (as the panel is called), ``bits``,
    ``value``, ``low``, ``high``, in points.
    """
    figure = new_figure(3.4)
    methods = list(dict.fromkeys(table["method"]))
    panels = np.atleast_1d(figure.subplots(1, len(methods), sharey=True))
    widths = sorted(table["bits"].unique(), reverse=True)
    factors = sorted(table["imbalance_factor"].unique(), reverse=True)
    for axes, method in zip(panels, methods, strict=True):
        for number, factor in enumerate(factors):
            mine = table.query("method == @method and imbalance_factor == @factor")
            rows = mine.set_index("bits").loc[widths]
            error = [rows["value"] - rows["low"], rows["high"] - rows["value"]]
            places = np.arange(len(widths)) + 0.22 * (number - (len(factors) - 1) / 2)
            look = {"fmt": "os^D"[number], "color": (NORM, ACCENT, TAIL, HEAD)[number]}
            axes.errorbar(
                places, rows["value"], yerr=error, ms=5, lw=1.5, label=f"IF {factor:g}", **look
            )
        _over(axes, method, widths, "bits")
    panels[0].set_ylabel("tail loss beyond\nhead loss (points)")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(factors))
    return figure


def _over(axes: Axes, title: str, groups: Sequence[object], label: str) -> None:
    """What the panels over groups of marks share: the line at zero, and the groups below."""
    axes.axhline(0, color=INK, lw=0.8)
    axes.set_xticks(range(len(groups)), [str(group) for group in groups])
    axes.set_xlabel(label)
    axes.set_title(title)
    axes.grid(axis="y")


def loss_heatmap(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """Accuracy lost by head and tail: a row a scheme, a column a width, one panel a group."""
    figure = new_figure(0.42 * len(tables) + 1.7)
    panels = figure.subplots(1, 2, sharey=True)
    widths = [
        bits
        for bits in sorted(next(iter(tables.values()))["bits"].unique(), reverse=True)
        if bits != 32
    ]
    for axes, group in zip(panels, ("head", "tail"), strict=True):
        drops = np.array(
            [
                table[table["group"] == group].set_index("bits").loc[widths, "drop"].to_numpy()
                for table in tables.values()
            ]
        )
        axes.imshow(np.clip(drops, 0, 40), cmap="Greys", vmin=0, vmax=60, aspect="auto")
        for (row, column), drop in np.ndenumerate(drops):
            axes.text(column, row, f"{drop:.1f}", ha="center", va="center", fontsize=10,
                      color="white" if drop > 33 else INK)  # fmt: skip
        axes.set_title(f"{group}: points lost", color=COLORS[group])
        axes.set_xticks(range(len(widths)), [str(bits) for bits in widths])
        axes.set_xlabel("bits")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    panels[0].set_yticks(range(len(tables)), list(tables))
    return figure


def class_accuracy(
    table: pd.DataFrame,
    first: str,
    second: str,
    reported: tuple[Sequence[float], Sequence[float]] | None = None,
) -> Figure:
    """Accuracy by class of two models, and under it their difference (figure 10)."""
    figure = new_figure(4.8)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    places = np.arange(len(table))
    upper.bar(places - 0.2, table["first"], 0.38, color=NORM, label=first)
    upper.bar(places + 0.2, table["second"], 0.38, color=ACCENT, label=second)
    upper.set_ylabel("test accuracy (%)")
    colors = [COLORS[group] for group in table["group"]]
    error = [table["change"] - table["low"], table["high"] - table["change"]]
    lower.bar(places, table["change"], 0.6, color=colors, yerr=error, ecolor=INK, capsize=2)
    lower.axhline(0, color=INK, lw=0.8)
    if reported is not None:
        hollow(upper, places - 0.2, reported[0], "head")
        hollow(upper, places + 0.2, reported[1], "head")
        hollow(lower, places, np.subtract(reported[1], reported[0]), "head")
        upper.plot([], [], "o", mfc="none", mec=INK, label="the post")
    upper.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3)
    lower.set_ylabel("difference (points)")
    lower.set_xticks(places, table["class"], rotation=35, ha="right")
    return figure


def training_curve(histories: Mapping[str, Sequence[Mapping[str, float]]]) -> Figure:
    """Training loss over epochs, one line a run."""
    figure = new_figure(3.0)
    axes = figure.subplots()
    for style, (name, history) in zip(LINES, histories.items(), strict=False):
        share = np.linspace(0, 1, len(history) + 1)[1:]
        axes.plot(share, [row["loss"] for row in history], style, color=INK, label=name)
    axes.set_xlabel("share of the training done")
    axes.set_ylabel("training loss (nats)")
    axes.legend()
    return figure
