"""Accuracy of float networks: by imbalance, and before and after the second stage."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from ltqlib.paper.marks import COLORS, hollow, legend, of_group, reach, with_interval
from ltqlib.paper.style import INK, new_figure
from ltqlib.statistics.estimate import Estimates


def over_imbalance(
    accuracy: Estimates, post: Mapping[float, Sequence[float]] | None = None
) -> Figure:
    """Accuracy of all classes, head and tail over the imbalance factor (figure 5 of the post).

    Args:
        accuracy: index imbalance factor, group.
        post: ``{imbalance factor: [norm, head, tail]}``, as hollow marks.
    """
    figure = new_figure(3.6)
    axes = figure.subplots()
    factors = list(dict.fromkeys(accuracy.index.get_level_values(0)))
    places = np.arange(len(factors))
    for number, group in enumerate(("norm", "head", "tail")):
        at = places + 0.06 * (number - 1)
        with_interval(axes, at, of_group(accuracy, group).loc[factors], group)
        told = [post[f][number] if post and f in post else np.nan for f in factors]
        if not np.isnan(told).all():
            hollow(axes, at + 0.03, told, group)
    axes.set_xticks(places, [f"IF {factor:g}" for factor in factors])
    axes.set_ylabel("test accuracy (%)")
    axes.grid(axis="y")
    legend(axes)
    return figure


def decoupling_bars(
    accuracy: Estimates, post: Mapping[str, Mapping[float, Sequence[float]]] | None = None
) -> Figure:
    """Head and tail accuracy, baseline beside cRT, by imbalance factor (figure 6 of the post).

    Args:
        accuracy: index imbalance factor, model, group.
        post: ``{"baseline" or "decoupling": {imbalance factor: [norm, head, tail]}}``.
    """
    figure = new_figure(3.8)
    factors = list(dict.fromkeys(accuracy.index.get_level_values(0)))
    panels = figure.subplots(1, len(factors), sharey=True, squeeze=False)[0]
    for axes, factor in zip(panels, factors, strict=True):
        for place, (model, theirs) in enumerate((("baseline", "baseline"), ("crt", "decoupling"))):
            for shift, group in ((-0.2, "head"), (0.2, "tail")):
                row = accuracy.loc[[(factor, model, group)]]
                axes.bar(place + shift, row["value"], 0.36, color=COLORS[group], yerr=reach(row),
                         ecolor=INK, capsize=2)  # fmt: skip
                told = (post or {}).get(theirs, {}).get(factor)
                if told is not None:
                    hollow(axes, [place + shift], [told[1 if group == "head" else 2]], group)
        axes.set_title(f"IF {factor:g}")
        axes.set_xticks([0, 1], ["baseline", "cRT"])
    panels[0].set_ylabel("test accuracy (%)")
    handles = [panels[0].bar(0, 0, color=COLORS[g], label=g) for g in ("head", "tail")]
    handles.append(panels[0].scatter([], [], marker="o", fc="none", ec=INK, label="the post"))
    figure.legend(handles=handles, loc="outside upper center", ncols=3)
    return figure
