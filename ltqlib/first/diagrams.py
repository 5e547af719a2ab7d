"""The drawings of the background chapter: they take no data and show no result."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle

from ltqlib.first import style
from ltqlib.first.longtail import head_and_tail, long_tailed_counts

CIFAR10_IMAGES, CIFAR10_CLASSES = 5_000, 10  # training images a class, classes
FACTORS = (0.1, 0.02, 0.01)  # imbalance factors of the post
LAYERS = 16  # of VGG16
Point = tuple[float, float]


# --- figure 1 -----------------------------------------------------------------------------------


def methods_and_applications() -> Figure:
    """Figure 1: what research starts from, and what it is judged by, in two traditions."""
    figure = style.new_figure(4.7)
    left, right = figure.subplots(1, 2)
    for axes in (left, right):
        _canvas(axes, 10, 13)
    _methods_driven(left)
    _application_driven(right)
    return figure


def _methods_driven(axes: Axes) -> None:
    axes.set_title("Methods-driven", loc="center", fontsize=13)
    _box(axes, (5, 11.3), 7.2, 1.9, "a general method", fill=style.FAINT)
    for x, name in ((1.6, "bench-\nmark A"), (5, "bench-\nmark B"), (8.4, "bench-\nmark C")):
        _box(axes, (x, 7.1), 3.1, 2.4, name)
        _arrow(axes, (5, 10.3), (x, 8.4))
        _arrow(axes, (x, 5.9), (5, 4.0))
    _box(axes, (5, 2.6), 9.2, 2.6, "one score for all:\naverage accuracy, size")
    _note(axes, (5, 0.4), "The data are given; methods compete.")


def _application_driven(axes: Axes) -> None:
    axes.set_title("Application-driven", loc="center", fontsize=13)
    needs = ((1.6, "the data\nas found"), (5, "limits of\na device"), (8.4, "price of\nan error"))
    for x, name in needs:
        _box(axes, (x, 11.1), 3.1, 2.4, name)
        _arrow(axes, (x, 9.8), (5, 8.3))
    _box(axes, (5, 7.3), 7.2, 1.9, "a method for this task", fill=style.ACCENT)
    _arrow(axes, (5, 6.3), (5, 4.0))
    _box(axes, (5, 2.6), 9.2, 2.6, "scores the task needs:\neach class, worst case")
    _note(axes, (5, 0.4), "The need is given; methods answer it.")


# --- figure 2 -----------------------------------------------------------------------------------


def long_tail() -> Figure:
    """Figure 2: images a class of CIFAR-10-LT, on a linear and on a logarithmic axis."""
    figure = style.new_figure(3.9)
    left, right = figure.subplots(1, 2)
    _head_and_tail_bars(left)
    _three_profiles(right)
    for axes in (left, right):
        axes.set_xlabel("class, most frequent first")
        axes.set_xticks(range(CIFAR10_CLASSES))
        axes.tick_params(labelsize=style.LABEL)
        axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.grid(axis="y")
    return figure


def _counts(factor: float) -> list[int]:
    return long_tailed_counts(CIFAR10_IMAGES, CIFAR10_CLASSES, factor)


def _groups() -> tuple[tuple[list[int], str], tuple[list[int], str]]:
    groups = head_and_tail(CIFAR10_CLASSES)
    return (groups["head"], style.HEAD), (groups["tail"], style.TAIL)


def _head_and_tail_bars(axes: Axes) -> None:
    counts = _counts(FACTORS[-1])
    for members, colour in _groups():
        axes.bar(members, [counts[c] for c in members], color=colour, width=0.82)
    axes.text(1.75, 3_700, "head", color=style.HEAD, fontsize=14, weight="bold")
    axes.text(6.0, 720, "tail", color=style.TAIL, fontsize=14, weight="bold")
    axes.set_title(f"Factor {FACTORS[-1]:g}, linear axis")
    axes.set_ylabel("training images")


def _three_profiles(axes: Axes) -> None:
    for factor, marker, dash in zip(FACTORS, "os^", ("-", "--", ":"), strict=True):
        counts = _counts(factor)
        axes.plot(counts, dash, color=style.NORM, zorder=2)
        for members, colour in _groups():
            axes.scatter(members, [counts[c] for c in members], 42, colour, marker=marker, zorder=3)
        axes.text(9.4, counts[-1], f"{factor:g}", va="center", weight="bold")
    axes.set_yscale("log")
    axes.set(xlim=(-0.7, 11.0), ylim=(30, 9_000), yticks=[50, 100, 500, 1_000, 5_000])
    axes.set_yticks([], minor=True)
    axes.set_title("Three factors, log axis")


# --- figure 3 -----------------------------------------------------------------------------------


def decoupling() -> Figure:
    """Figure 3: the two stages of decoupled training."""
    figure = style.new_figure(4.8)
    axes = figure.subplots()
    _canvas(axes, 20, 14)
    axes.set_ylim(1.4, 14)
    _stage(axes, 10.6, "Stage 1: learn the features", (6.0, 3.4, 1.8, 0.9), "instance-\nbalanced")
    _stage(axes, 3.4, "Stage 2: learn the classifier", (3.0, 3.0, 3.0, 3.0), "class-\nbalanced")
    _box(axes, (10.2, 10.6), 4.8, 2.6, "backbone\nlearns", fill=style.ACCENT)
    _box(axes, (17.3, 10.6), 4.8, 2.6, "classifier\nlearns", fill=style.ACCENT)
    _box(axes, (10.2, 3.4), 4.8, 2.6, "backbone\nfrozen", hatch="///")
    _box(axes, (17.3, 3.4), 4.8, 2.6, "new classifier\nlearns", fill=style.ACCENT)
    _arrow(axes, (10.2, 9.2), (10.2, 4.8))
    axes.text(10.7, 7.0, "weights kept", va="center", fontsize=style.LABEL)
    _arrow(axes, (17.3, 9.2), (17.3, 7.7))
    axes.text(17.3, 7.0, "set aside", va="center", ha="center", fontsize=style.LABEL)
    return figure


def _stage(axes: Axes, y: float, title: str, bars: Sequence[float], sampling: str) -> None:
    """One row: its title, the classes as they are drawn, and the arrows between its boxes."""
    axes.text(0.2, y + 2.6, title, fontsize=13, weight="bold", va="center")
    colours = (style.HEAD, style.HEAD, style.TAIL, style.TAIL)
    for number, (height, colour) in enumerate(zip(bars, colours, strict=True)):
        left, tall = 0.3 + 0.72 * number, 0.42 * height
        axes.add_patch(Rectangle((left, y - 1.3), 0.58, tall, color=colour, lw=0))
    axes.text(3.4, y - 0.1, sampling, va="center", fontsize=style.LABEL)
    _arrow(axes, (6.4, y), (7.7, y))
    _arrow(axes, (12.7, y), (14.8, y))


# --- the grid of section 2.4 --------------------------------------------------------------------


def uniform_grid() -> Figure:
    """Seven real numbers on the symmetric grids of 4 and of 2 bits with the same clip."""
    figure = style.new_figure(4.1)
    axes = figure.subplots()
    clip = 1.0
    values = np.array([-0.93, -0.64, -0.3, 0.06, 0.38, 0.78, 1.3])
    axes.axvspan(-clip, clip, color=style.ACCENT, alpha=0.22, lw=0)
    axes.axhline(1, color=style.INK, lw=1.5)
    _grid_row(axes, values, 2, clip, 4)
    _grid_row(axes, values, 0, clip, 2)
    axes.plot(values, np.ones_like(values), "o", color=style.INK, ms=8)
    axes.text(0, 2.5, "clipping range", ha="center", va="center", fontsize=style.LABEL)
    axes.set_yticks([2, 1, 0], ["4 bits", "real\nnumbers", "2 bits"], fontsize=style.LABEL)
    axes.set_xticks([-clip, 0, clip], ["$-c$", "0", "$c$"], fontsize=14)
    axes.set(xlim=(-1.2, 1.5), ylim=(-0.4, 2.7))
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.tick_params(length=0)
    return figure


def _grid_row(axes: Axes, values: np.ndarray, row: float, clip: float, bits: int) -> None:
    """The levels of one grid at height ``row``, and where the values of row 1 land on it."""
    quant_max = 2 ** (bits - 1) - 1
    scale = clip / quant_max
    levels = scale * np.arange(-quant_max, quant_max + 1)
    landed = scale * np.clip(np.round(values / scale), -quant_max, quant_max)
    for value, level in zip(values, landed, strict=True):
        axes.plot([value, level], [1, row], color=style.NORM, lw=1.5, ls=":", zorder=1)
    axes.hlines(row, -clip, clip, color=style.NORM, lw=1.5)
    axes.plot(levels, np.full_like(levels, row), "|", color=style.NORM, ms=20, mew=2)
    axes.plot(landed, np.full_like(landed, row), "o", color=style.INK, ms=8)
    step = f"c/{quant_max}" if quant_max > 1 else "c"
    axes.text(1.12, row, f"$s = {step}$", fontsize=15, va="center")


# --- figure 11 ----------------------------------------------------------------------------------


def layer_sensitivity() -> Figure:
    """Figure 11: from one layer quantized at a time to two widths; the bars are a sketch."""
    figure = style.new_figure(5.6)
    top, bottom = figure.subplots(2, 1, height_ratios=(1.15, 1))
    _one_layer_at_a_time(top)
    _ranking(bottom)
    return figure


def _one_layer_at_a_time(axes: Axes) -> None:
    _canvas(axes, 24, 10)
    axes.text(0, 9.3, "1  Quantize one layer, measure the network", weight="bold", fontsize=13)
    rows = (("$A$", None, 7.2), ("$C_1$", 0, 5.2), ("$C_2$", 1, 3.6), ("$C_{16}$", 15, 0.8))
    for name, quantized, y in rows:
        axes.text(1.5, y, name, fontsize=14, ha="right", va="center")
        for layer in range(LAYERS):
            colour = style.ACCENT if layer == quantized else style.FAINT
            edge = style.INK if layer == quantized else style.NORM
            box = Rectangle((2 + 0.72 * layer, y - 0.5), 0.6, 1.0, fc=colour, ec=edge, lw=1)
            axes.add_patch(box)
        _arrow(axes, (13.8, y), (15.2, y))
        measured = "accuracy: all classes" if quantized is None else "accuracy: all, head, tail"
        axes.text(15.5, y, measured, va="center", fontsize=style.LABEL)
    axes.text(7.7, 2.2, "⋮", ha="center", va="center", fontsize=16)


def _ranking(axes: Axes) -> None:
    drops = 0.16 + 0.84 * np.exp(-0.33 * np.arange(LAYERS))
    high = 6
    colours = [style.TAIL] * high + [style.NORM] * (LAYERS - high)
    hatches = ["//"] * high + [""] * (LAYERS - high)
    axes.bar(range(LAYERS), drops, color=colours, hatch=hatches, edgecolor="white", width=0.86)
    axes.set_title("2  Rank the layers, give bits to the sensitive", fontsize=13)
    axes.text(
        5.2,
        0.86,
        r"$\mathrm{Sen}_n = \mathrm{Acc}(A) - \mathrm{Acc}_{\mathrm{tail}}(C_n)$",
        fontsize=14,
    )
    axes.text(
        5.7, 0.44, "6 bits, while the budget lasts", color=style.TAIL, weight="bold", fontsize=13
    )
    axes.text(10.2, 0.27, "4 bits for the rest", color=style.NORM, weight="bold", fontsize=13)
    axes.set(ylabel="sensitivity", yticks=[], xticks=[], ylim=(0, 1.08))
    axes.set_xlabel("layers, most sensitive first (heights are a sketch)")


# --- parts --------------------------------------------------------------------------------------


def _canvas(axes: Axes, width: float, height: float) -> None:
    """Axes without frame, to draw on in free units."""
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.axis("off")


def _box(
    axes: Axes,
    centre: Point,
    width: float,
    height: float,
    text: str,
    fill: str = "white",
    hatch: str = "",
) -> None:
    """A rounded box with a centred label."""
    box = FancyBboxPatch(
        (centre[0] - width / 2, centre[1] - height / 2),
        width,
        height,
        boxstyle="round,pad=0,rounding_size=0.35",
        facecolor=fill,
        edgecolor=style.NORM,
        hatch=hatch,
        linewidth=1.6,
    )
    axes.add_patch(box)
    label = axes.text(*centre, text, ha="center", va="center", fontsize=13)
    if hatch:
        label.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 3})


def _arrow(axes: Axes, start: Point, end: Point) -> None:
    """A straight arrow in ink."""
    axes.annotate(
        "",
        xy=end,
        xytext=start,
        arrowprops={"arrowstyle": "-|>", "color": style.INK, "lw": 1.4, "shrinkA": 0, "shrinkB": 0},
    )


def _note(axes: Axes, where: Point, text: str) -> None:
    axes.text(*where, text, ha="center", va="center", fontsize=style.BODY, style="italic")
