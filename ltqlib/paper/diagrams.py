"""The drawings of the background chapter: they take no data and show no result."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ltqlib.paper.drawing import TITLE, arrow, box, canvas, note
from ltqlib.paper.style import ACCENT, FAINT, HEAD, INK, LABEL, NORM, TAIL, new_figure

LAYERS = 16  # of VGG16


def methods_and_applications() -> Figure:
    """Figure 1: what research starts from, and what it is judged by, in two traditions."""
    figure = new_figure(4.7)
    left, right = figure.subplots(1, 2)
    for axes in (left, right):
        canvas(axes, 10, 13)
    _methods_driven(left)
    _application_driven(right)
    return figure


def _methods_driven(axes: Axes) -> None:
    axes.set_title("Methods-driven", loc="center", fontsize=TITLE)
    box(axes, (5, 11.3), 7.2, 1.9, "a general method", fill=FAINT)
    for x, name in ((1.6, "bench-\nmark A"), (5, "bench-\nmark B"), (8.4, "bench-\nmark C")):
        box(axes, (x, 7.1), 3.1, 2.4, name)
        arrow(axes, (5, 10.3), (x, 8.4))
        arrow(axes, (x, 5.9), (5, 4.0))
    box(axes, (5, 2.6), 9.2, 2.6, "one score for all:\naverage accuracy, size")
    note(axes, (5, 0.4), "The data are given; methods compete.")


def _application_driven(axes: Axes) -> None:
    axes.set_title("Application-driven", loc="center", fontsize=TITLE)
    needs = ((1.6, "the data\nas found"), (5, "limits of\na device"), (8.4, "cost of\nan error"))
    for x, name in needs:
        box(axes, (x, 11.1), 3.1, 2.4, name)
        arrow(axes, (x, 9.8), (5, 8.3))
    box(axes, (5, 7.3), 7.2, 1.9, "a method for this task", fill=ACCENT)
    arrow(axes, (5, 6.3), (5, 4.0))
    box(axes, (5, 2.6), 9.2, 2.6, "scores the task needs:\neach class, worst case")
    note(axes, (5, 0.4), "The need is given; methods answer it.")


def decoupling() -> Figure:
    """Figure 3: the two stages of decoupled training."""
    figure = new_figure(4.8)
    axes = figure.subplots()
    canvas(axes, 20, 14)
    axes.set_ylim(1.4, 14)
    _stage(axes, 10.6, "Stage 1: learn the features", (6.0, 3.4, 1.8, 0.9), "instance-\nbalanced")
    _stage(axes, 3.4, "Stage 2: learn the classifier", (3.0, 3.0, 3.0, 3.0), "class-\nbalanced")
    box(axes, (10.2, 10.6), 4.8, 2.6, "backbone\nlearns", fill=ACCENT)
    box(axes, (17.3, 10.6), 4.8, 2.6, "classifier\nlearns", fill=ACCENT)
    box(axes, (10.2, 3.4), 4.8, 2.6, "backbone\nfrozen", hatch="///")
    box(axes, (17.3, 3.4), 4.8, 2.6, "new classifier\nlearns", fill=ACCENT)
    arrow(axes, (10.2, 9.2), (10.2, 4.8))
    axes.text(10.7, 7.0, "weights kept", va="center", fontsize=LABEL)
    arrow(axes, (17.3, 9.2), (17.3, 7.7))
    axes.text(17.3, 7.0, "set aside", va="center", ha="center", fontsize=LABEL)
    return figure


def _stage(axes: Axes, y: float, title: str, bars: Sequence[float], sampling: str) -> None:
    """One row: its title, the classes as they are drawn, and the arrows between its boxes."""
    axes.text(0.2, y + 2.6, title, fontsize=TITLE, weight="bold", va="center")
    colours = (HEAD, HEAD, TAIL, TAIL)
    for number, (height, colour) in enumerate(zip(bars, colours, strict=True)):
        left, tall = 0.3 + 0.72 * number, 0.42 * height
        axes.add_patch(Rectangle((left, y - 1.3), 0.58, tall, color=colour, lw=0))
    axes.text(3.4, y - 0.1, sampling, va="center", fontsize=LABEL)
    arrow(axes, (6.4, y), (7.7, y))
    arrow(axes, (12.7, y), (14.8, y))


def uniform_grid() -> Figure:
    """Seven real numbers on the symmetric grids of 4 and of 2 bits with the same clip."""
    figure = new_figure(4.1)
    axes = figure.subplots()
    clip = 1.0
    values = np.array([-0.93, -0.64, -0.3, 0.06, 0.38, 0.78, 1.3])
    axes.axvspan(-clip, clip, color=ACCENT, alpha=0.22, lw=0)
    axes.axhline(1, color=INK, lw=1.5)
    _grid_row(axes, values, 2, clip, 4)
    _grid_row(axes, values, 0, clip, 2)
    axes.plot(values, np.ones_like(values), "o", color=INK, ms=8)
    axes.text(0, 2.5, "clipping range", ha="center", va="center", fontsize=LABEL)
    axes.set_yticks([2, 1, 0], ["4 bits", "real\nnumbers", "2 bits"], fontsize=LABEL)
    axes.set_xticks([-clip, 0, clip], ["$-c$", "0", "$c$"], fontsize=14)
    axes.set(xlim=(-1.2, 1.5), ylim=(-0.4, 2.7))
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.tick_params(length=0)
    return figure


def _grid_row(
    axes: Axes, values: npt.NDArray[np.float64], row: float, clip: float, bits: int
) -> None:
    """The levels of one grid at height ``row``, and where the values of row 1 land on it."""
    quant_max = 2 ** (bits - 1) - 1
    scale = clip / quant_max
    levels = scale * np.arange(-quant_max, quant_max + 1)
    landed = scale * np.clip(np.round(values / scale), -quant_max, quant_max)
    for value, level in zip(values, landed, strict=True):
        axes.plot([value, level], [1, row], color=NORM, lw=1.5, ls=":", zorder=1)
    axes.hlines(row, -clip, clip, color=NORM, lw=1.5)
    axes.plot(levels, np.full_like(levels, row), "|", color=NORM, ms=20, mew=2)
    axes.plot(landed, np.full_like(landed, row), "o", color=INK, ms=8)
    step = f"c/{quant_max}" if quant_max > 1 else "c"
    axes.text(1.12, row, f"$s = {step}$", fontsize=15, va="center")


def layer_sensitivity() -> Figure:
    """Figure 11: from one layer quantized at a time to two widths; the bars are a sketch."""
    figure = new_figure(5.6)
    top, bottom = figure.subplots(2, 1, height_ratios=(1.15, 1))
    _one_layer_at_a_time(top)
    _ranking(bottom)
    return figure


def _one_layer_at_a_time(axes: Axes) -> None:
    canvas(axes, 24, 10)
    axes.text(0, 9.3, "1  Quantize one layer, measure the network", weight="bold", fontsize=TITLE)
    rows = (("$A$", None, 7.2), ("$C_1$", 0, 5.2), ("$C_2$", 1, 3.6), ("$C_{16}$", 15, 0.8))
    for name, quantized, y in rows:
        axes.text(1.5, y, name, fontsize=14, ha="right", va="center")
        for layer in range(LAYERS):
            colour = ACCENT if layer == quantized else FAINT
            edge = INK if layer == quantized else NORM
            place = (2 + 0.72 * layer, y - 0.5)
            axes.add_patch(Rectangle(place, 0.6, 1.0, fc=colour, ec=edge, lw=1))
        arrow(axes, (13.8, y), (15.2, y))
        measured = "accuracy: all classes" if quantized is None else "accuracy: all, head, tail"
        axes.text(15.5, y, measured, va="center", fontsize=LABEL)
    axes.text(7.7, 2.2, "⋮", ha="center", va="center", fontsize=16)


def _ranking(axes: Axes) -> None:
    drops = 0.16 + 0.84 * np.exp(-0.33 * np.arange(LAYERS))
    high = 6
    colours = [TAIL] * high + [NORM] * (LAYERS - high)
    hatches = ["//"] * high + [""] * (LAYERS - high)
    axes.bar(range(LAYERS), drops, color=colours, hatch=hatches, edgecolor="white", width=0.86)
    axes.set_title("2  Rank the layers by their sensitivity", fontsize=TITLE)
    axes.text(
        5.2,
        0.86,
        r"$\mathrm{Sen}_n = \mathrm{Acc}(A) - \mathrm{Acc}_{\mathrm{tail}}(C_n)$",
        fontsize=14,
    )
    axes.text(5.7, 0.44, "6 bits, while the limit holds", color=TAIL, weight="bold", fontsize=TITLE)
    axes.text(10.2, 0.27, "4 bits for the rest", color=NORM, weight="bold", fontsize=TITLE)
    axes.set(ylabel="sensitivity", yticks=[], xticks=[], ylim=(0, 1.08))
    axes.set_xlabel("layers, most sensitive first (heights are a sketch)")
