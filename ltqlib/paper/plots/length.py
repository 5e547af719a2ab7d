"""What a longer training changes."""

import textwrap
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ltqlib.paper.marks import at_bits, name_marks, of_group, titled_panels, with_interval
from ltqlib.paper.style import FAINT, INK, new_figure
from ltqlib.statistics.estimate import Estimates
from ltqlib.statistics.losses import GROUP


def over_length(accuracy: Estimates, plain: Estimates, equal: Estimates, bits: int = 4) -> Figure:
    """Float accuracy and what is lost at ``bits``, over the passes of training or over recipes.

    Args:
        accuracy: of the float networks, index passes or recipe, and group.
        plain, equal: losses, with the index of ``accuracy`` and bits.
    """
    figure = new_figure(3.6)
    left, right = figure.subplots(1, 2)
    passes = list(dict.fromkeys(accuracy.index.get_level_values(0)))
    _lines(left, passes, {g: of_group(accuracy, g) for g in ("norm", "head", "tail")})
    left.set_ylabel("float accuracy (%)")
    lost = at_bits(plain, bits)
    _lines(right, passes, {g: of_group(lost, g) for g in ("head", "tail")})
    rows = of_group(at_bits(equal, bits), GROUP).loc[passes]
    with_interval(right, np.arange(len(passes)) + 0.12, rows, "tail", fillstyle="none", ls=":",
                  label="tail at equal head accuracy")  # fmt: skip
    right.axhline(0, color=INK, lw=0.8)
    right.set_ylabel(f"points lost at {bits} bits")
    if accuracy.index.names[0] != "passes":
        _as_marks(left, right)
    name_marks(right, 3)
    return figure


def rounding_and_noise(
    rounding: Estimates, noise: Estimates, error: Estimates, layers: xr.DataArray
) -> Figure:
    """What head and tail lose by rounding and by noise, and the rounding error, over the length.

    Args:
        rounding, noise: losses in points, index passes, group.
        error: mean over the layers of ``layers``, index passes, group.
        layers: root mean square of each layer's rounding error over that of its weights, percent,
            dimensions passes and layer.
    """
    figure = new_figure(3.6)
    left, middle, right = panels = figure.subplots(1, 3)
    middle.sharey(left)
    passes = [int(n) for n in layers["passes"]]
    for axes, table, title in ((left, rounding, "4 bits"), (middle, noise, "equal noise")):
        _lines(axes, passes, {g: of_group(table, g) for g in ("head", "tail")})
        axes.axhline(0, color=INK, lw=0.8)
        axes.set_title(title)
    left.set_ylabel("points lost")
    places = np.arange(len(passes))
    right.plot(places, layers.transpose("passes", "layer"), color=FAINT, lw=1)
    rows = error.droplevel("group").loc[passes]
    with_interval(right, places, rows, "norm", label="mean of layers")
    right.set_xticks(places, [str(n) for n in passes])
    right.set_title("rounding error")
    right.set_ylabel("% of the weights")
    for axes in panels:
        axes.set_xlabel("passes")
    name_marks(left, 2)
    return figure


def kept_share(share: xr.DataArray, curves: npt.NDArray, fine: npt.NDArray) -> Figure:
    """What share of its float accuracy a group keeps with fewer bits, measured and fitted.

    Args:
        share: means over seeds (group, passes, bits), or of another quantity than the passes,
            whose name the legend tells; head and tail are drawn.
        curves: the fitted law (group, passes, fine).
        fine: bits of the curves, (fine,).
    """
    names, varied = ["head", "tail"], str(share.dims[1])
    figure, panels = titled_panels(3.4, names)
    shades = colormaps["viridis_r"](np.linspace(0.15, 0.95, share.sizes[varied]))
    for name, axes in zip(names, panels, strict=True):
        chosen = share["group"].values.tolist().index(name)
        for n, (value, shade) in enumerate(zip(share[varied].values, shades, strict=True)):
            marks = share[chosen, n]
            axes.plot(marks["bits"], 100 * marks, "o", color=shade, label=f"{value:g} {varied}")
            axes.plot(fine, 100 * curves[chosen, n], color=shade, lw=1.2)
        axes.set_xlabel("bits of the weights")
        axes.set_xticks(share["bits"].values)
        axes.invert_xaxis()
    panels[0].set_ylabel("% of float accuracy kept")
    name_marks(panels[0], share.sizes[varied])
    return figure


def _as_marks(*panels: Axes) -> None:
    """Recipes are names: no line leads from one to the next."""
    for axes in panels:
        axes.set_xlabel("")
        axes.margins(x=0.25)
        for line in axes.get_lines():
            if line.get_marker() not in ("", "None"):
                line.set_linestyle("none")


def _lines(axes: Axes, passes: list[int], tables: Mapping[str, pd.DataFrame]) -> None:
    for number, (group, rows) in enumerate(tables.items()):
        with_interval(axes, np.arange(len(passes)) + 0.05 * number, rows.loc[passes], group)
    axes.set_xticks(range(len(passes)), [textwrap.fill(str(n), 11) for n in passes])
    axes.set_xlabel("passes over the training images")
    axes.grid(axis="y")
