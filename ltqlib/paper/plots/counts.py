"""Training images of each class: what a long tail looks like."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from ltqlib.config import factor_label
from ltqlib.data import LongTail
from ltqlib.paper.marks import COLORS
from ltqlib.paper.style import ACCENT, HEAD, NORM, TAIL, new_figure

GROUP_COLORS = {**COLORS, "many": HEAD, "medium": ACCENT, "few": TAIL}
NAMED = 12  # classes; more have no room for their names
MARKERS, DASHES = "os^Dv", ("-", "--", ":", "-.", (0, (1, 3)))


def class_counts(*sets: LongTail) -> Figure:
    """Training images of each class, the most frequent first, in the colours of their groups.

    Args:
        sets: one long tail, as bars; or several of the same classes: bars of the last one on the
            left and all of them on a logarithmic axis on the right.
    """
    figure = new_figure(3.9 if len(sets) > 1 else 3.4)
    panels = figure.subplots(1, 2, squeeze=False)[0] if len(sets) > 1 else [figure.subplots()]
    _bars(panels[0], sets[-1])
    if len(sets) > 1:
        panels[0].set_title(f"{factor_label(sets[-1].imbalance_factor)}, linear axis")
        _profiles(panels[1], sets)
    for axes in panels:
        axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.grid(axis="y")
    panels[0].set_ylabel("training images")
    return figure


def ranked(data: LongTail) -> list[int]:
    """Labels, the most frequent class first; of two equally frequent ones the lower label."""
    return sorted(range(len(data.counts)), key=lambda label: (-data.counts[label], label))


def _bars(axes: Axes, data: LongTail) -> None:
    order = ranked(data)
    for name, color, members in _groups(data):
        places = [place for place, label in enumerate(order) if label in members]
        heights = [data.counts[order[place]] for place in places]
        axes.bar(places, heights, color=color, width=0.82, label=name)
    if len(order) <= NAMED:
        names = [data.classes[label] for label in order]
        axes.set_xticks(range(len(order)), names, rotation=40, ha="right", parse_math=False)
    else:
        axes.set_xticks([])
        axes.set_xlabel("class, most frequent first")
    axes.legend(loc="upper right")


def _profiles(axes: Axes, sets: Sequence[LongTail]) -> None:
    """One line a long tail, with its imbalance factor at the end."""
    for number, data in enumerate(sets):
        order = ranked(data)
        counts = [data.counts[label] for label in order]
        axes.plot(counts, ls=DASHES[number % len(DASHES)], color=NORM, zorder=2)
        for _, color, members in _groups(data):
            places = [place for place, label in enumerate(order) if label in members]
            marker = MARKERS[number % len(MARKERS)]
            axes.scatter(places, [counts[p] for p in places], 42, color, marker=marker, zorder=3)
        axes.text(len(order) - 0.6, counts[-1], _short(data), va="center", weight="bold")
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.set_xlim(-0.7, 1.14 * len(sets[0].counts))
    axes.set_xlabel("class, most frequent first")
    axes.set_xticks([])
    axes.set_title("Logarithmic axis")


def _short(data: LongTail) -> str:
    return factor_label(data.imbalance_factor).removeprefix("IF ")


def _groups(data: LongTail) -> list[tuple[str, str, Sequence[int]]]:
    """Name, colour and labels of each group; colours follow the order where names are unknown."""
    spare = [HEAD, TAIL, ACCENT, NORM]
    named: Mapping[str, Sequence[int]] = data.groups
    return [
        (name, GROUP_COLORS.get(name, spare[number % len(spare)]), members)
        for number, (name, members) in enumerate(named.items())
    ]
