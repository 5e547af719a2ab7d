"""Values of each class over its number of training images."""

import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib.figure import Figure

from ltqlib.paper.style import INK, new_figure


def over_frequency(values: xr.DataArray) -> Figure:
    """One line a class, through the class orders in which it has more or fewer images.

    Args:
        values: points, dimensions measure, order, seed and class, with the coordinates ``count``
            (order, class) and ``name`` (class); seeds are averaged.
    """
    figure = new_figure(4.2)
    panels = figure.subplots(1, values.sizes["measure"], squeeze=False)[0]
    mean = values.mean("seed").transpose("measure", "order", "class")
    counts, names = mean["count"].to_numpy(), mean["name"].to_numpy()
    for axes, measure in zip(panels, mean["measure"].values, strict=True):
        shown = mean.sel(measure=measure).to_numpy()
        for number, name in enumerate(names):
            order = np.argsort(counts[:, number])
            shade, style = colormaps["tab10"](number % 10), ("-", "--")[number % 2]
            axes.plot(counts[order, number], shown[order, number], f"o{style}", ms=4,
                      color=shade, label=name)  # fmt: skip
        axes.axhline(0, color=INK, lw=0.8)
        axes.set_xscale("log")
        axes.set_xlabel("training images of the class")
        axes.set_title(str(measure))
        axes.grid(axis="y")
    panels[0].set_ylabel("points")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=5)
    return figure
