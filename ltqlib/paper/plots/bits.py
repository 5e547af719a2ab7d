"""Head and tail as the weights get fewer bits."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from ltqlib.paper.marks import (
    COLORS,
    hollow,
    legend,
    name_marks,
    of_group,
    reach,
    titled_panels,
    with_interval,
)
from ltqlib.paper.style import INK, NORM, new_figure
from ltqlib.statistics.estimate import Estimates
from ltqlib.statistics.losses import GROUP

FLOAT = 32


def bits_curve(
    accuracy: Estimates, post: Mapping[str, Mapping[int, Sequence[float]]] | None = None
) -> Figure:
    """Head and tail accuracy over bit-width, one panel a model.

    Args:
        accuracy: index model, bits, group.
        post: ``{model: {bits: [head, tail]}}``, as hollow marks.
    """
    models = list(dict.fromkeys(accuracy.index.get_level_values("model")))
    figure, panels = titled_panels(3.8, models)
    for axes, model in zip(panels, models, strict=True):
        rows = accuracy.loc[model]
        widths = list(dict.fromkeys(rows.index.get_level_values("bits")))
        places = np.arange(len(widths))
        for number, group in enumerate(("head", "tail")):
            with_interval(axes, places, of_group(rows, group).loc[widths], group)
            told = {
                w: pair[number] for w, pair in (post or {}).get(model, {}).items() if w in widths
            }
            hollow(axes, [widths.index(w) for w in told], list(told.values()), group)
        axes.set_xticks(places, ["float" if w == FLOAT else str(w) for w in widths])
        axes.set_xlabel("bits of the weights" if len(models) < 4 else "bits")
    panels[0].set_ylabel("test accuracy (%)")
    legend(panels[0])
    return figure


def two_losses(plain: Estimates, equal: Estimates, widths: Sequence[int] = (6, 5, 4)) -> Figure:
    """What the tail loses as it is and at equal head accuracy, one panel a model.

    Args:
        plain: losses in points, index model, bits, group.
        equal: what :func:`ltqlib.lost_at_equal_head` returns, the same index.
    """
    models = list(dict.fromkeys(plain.index.get_level_values("model")))
    figure, panels = titled_panels(3.6, models)
    shown = (
        ("head", plain, "head, as it is", -0.22, "full"),
        ("tail", plain, "tail, as it is", 0.0, "full"),
        ("tail", equal, "tail, at equal head accuracy", 0.22, "none"),
    )
    for axes, model in zip(panels, models, strict=True):
        for group, table, label, shift, fill in shown:
            name = group if table is plain else GROUP
            rows = of_group(table.loc[model], name).loc[list(widths)]
            looks: dict[str, Any] = {"label": label, "ls": "none", "fillstyle": fill}
            with_interval(axes, np.arange(len(widths)) + shift, rows, group, **looks)
        axes.axhline(0, color=NORM, lw=0.8)
        axes.set_xticks(range(len(widths)), [f"{w} bits" for w in widths])
    panels[0].set_ylabel("points lost")
    name_marks(panels[0], 3)
    return figure


def head_tail_curves(
    curves: xr.Dataset, at: xr.Dataset, widths: Sequence[int] = (32, 6, 5, 4)
) -> Figure:
    """Tail accuracy against head accuracy along the offset, means over seeds, one line a width.

    Args:
        curves: ``head`` and ``tail`` along ``offset``, with the dimension bits, as
            :func:`ltqlib.statistics.head_tail_curve` returns them; a dimension seed is averaged.
        at: ``head`` and ``tail`` of the models as they are.
    """
    figure = new_figure(4.4)
    axes = figure.subplots()
    styles = {32: "-", 8: (0, (8, 1)), 6: "--", 5: "-.", 4: ":", 3: (0, (1, 3))}
    mean, point = _over_seeds(curves), _over_seeds(at)
    for number, bits in enumerate(widths):
        shade = COLORS["tail"] if bits != FLOAT else INK
        line, dot = mean.sel(bits=bits), point.sel(bits=bits)
        label = "float" if bits == FLOAT else f"{bits} bits"
        axes.plot(line["head"], line["tail"], ls=styles[bits], color=shade, label=label,
                  alpha=1 - 0.12 * number)  # fmt: skip
        axes.plot(dot["head"], dot["tail"], "o", ms=8, color=shade)
    axes.set_xlabel("head accuracy (%)")
    axes.set_ylabel("tail accuracy (%)")
    axes.set_xlim(55, None)
    axes.grid()
    axes.legend(loc="lower left")
    return figure


def by_seed(each: Estimates, together: Estimates) -> Figure:
    """What the tail loses beyond the head: single seeds beside all together, one panel a model.

    Args:
        each: index model, "one seed", bits, group; intervals over images alone.
        together: index model, bits, group; intervals over seeds and images.
    """
    models = list(dict.fromkeys(together.index.get_level_values("model")))
    figure, panels = titled_panels(3.6, models)
    small: dict[str, Any] = {"ls": "none", "ms": 4, "lw": 1, "capsize": 0, "label": "one seed"}
    for axes, model in zip(panels, models, strict=True):
        whole = together.loc[model].droplevel("group")
        mine, widths = each.loc[model].droplevel("group"), list(whole.index)
        seeds = list(dict.fromkeys(mine.index.get_level_values("one seed")))
        for number, seed in enumerate(seeds):
            places = np.arange(len(widths)) + 0.6 * (number / len(seeds) - 0.5)
            rows = mine.xs(seed, level="one seed").loc[widths]
            with_interval(axes, places, rows, "norm", **small)
            small["label"] = None
        axes.errorbar(np.arange(len(widths)) + 0.3, whole["value"], yerr=reach(whole), fmt="D",
                      capsize=3, ms=7, color=INK, label="all seeds")  # fmt: skip
        small["label"] = "one seed"
        axes.axhline(0, color=INK, lw=0.8)
        axes.set_xticks(range(len(widths)), [f"{w} bits" for w in widths])
    panels[0].set_ylabel("tail loss beyond\nhead loss (points)")
    name_marks(panels[0], 2)
    return figure


def _over_seeds(values: xr.Dataset) -> xr.Dataset:
    return values.mean("seed") if "seed" in values.dims else values
