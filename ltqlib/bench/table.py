"""Outcomes of many configurations as a small labelled table, and what a proxy may see of it.

The table of one network holds, by half of the test images (``half``):

- ``correct`` (half, class, configuration): images predicted right; ``images`` (half, class).
- ``called_tail`` (half, configuration): images predicted as any class of the tail.
- ``margin`` (half, configuration): mean of the best tail logit less the best head logit.
- ``tail_at_equal_head`` (half, configuration): tail accuracy in percent where every model has the
  head accuracy of the float model at its best operating point; NaN where that is out of reach.
- ``curve`` (half, layer, bits): points of that accuracy lost with one layer alone, measured within
  the half.

and ``widths`` (configuration, layer).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import xarray as xr

from ltqlib.allocation import average_weight_bits, curve_losses
from ltqlib.bench.configurations import FLOAT
from ltqlib.errors import InputError
from ltqlib.statistics import tail_at_equal_head

HALVES = ("choose", "judge")
EQUAL_HEAD = "tail at equal head"
TARGETS = ("tail", EQUAL_HEAD, "norm")  # the losses that proxies are scored against
KEPT = ("label", "group", "half")  # coordinates of the outcomes
STEP = 500  # configurations at once

Ints = npt.NDArray[np.int64]


def tabulate(outcomes: xr.Dataset, widths: xr.DataArray) -> xr.Dataset:
    """The table of one network.

    Args:
        outcomes: what :func:`ltqlib.evaluate` returns, (configuration, image), with ``predicted``,
            ``right``, ``best_head``, ``best_tail`` and ``margin``, and the coordinates ``label``,
            ``group`` (``head``, ``tail``) and ``half`` (``choose``, ``judge``) on image.
        widths: weight bits (configuration, layer) as :func:`ltqlib.bench.draw` returns them, among
            them the float model and each layer alone; with ``parameters`` and ``macs`` on layer.

    Raises:
        InputError: dimensions, coordinates or configurations are missing.
    """
    _check(outcomes, widths)
    outcomes = outcomes.drop_vars([n for n in outcomes.coords if n not in KEPT])
    place = one_layer(widths)
    reference = outcomes.isel(configuration=int(place.sel(bits=FLOAT)[0]))
    starts = range(0, outcomes.sizes["configuration"], STEP)
    parts = [
        _counts(outcomes.isel(configuration=slice(k, k + STEP)), reference, len(_names(outcomes)))
        for k in starts
    ]
    table = xr.concat(parts, "configuration", data_vars="minimal").transpose(..., "configuration")
    alone = outcomes.isel(configuration=place)
    curves = [curve_losses(alone.isel(image=outcomes.half.values == half)) for half in HALVES]
    plain = (
        xr.DataArray(widths)
        .transpose("configuration", "layer")
        .drop_vars("mean_bits", errors="ignore")
    )
    return table.assign(
        widths=plain, curve=xr.concat(curves, xr.Variable("half", list(HALVES)))
    ).assign_attrs(outcomes.attrs)


def _check(outcomes: xr.Dataset, widths: xr.DataArray) -> None:
    if set(outcomes.right.dims) != {"configuration", "image"}:
        raise InputError(
            f"the outcomes have dimensions {', '.join(map(str, outcomes.right.dims))}: give one "
            "network at a time, (configuration, image)"
        )
    if outcomes.sizes["configuration"] != widths.sizes["configuration"]:
        raise InputError(
            f"{outcomes.sizes['configuration']} configurations were evaluated, widths are of "
            f"{widths.sizes['configuration']}: give those that were evaluated"
        )
    for name, needed in (("half", HALVES), ("group", ("head", "tail"))):
        values = outcomes[name].values.tolist() if name in outcomes.coords else []
        if missing := sorted(set(needed) - set(values)):
            raise InputError(f"no image has the {name} {missing[0]}: give the coordinate {name}")
    for name in ("parameters", "macs"):
        if name not in widths.coords:
            raise InputError(f"the widths have no {name} on layer: add them, as graph.layers has")


def _names(outcomes: xr.Dataset) -> list[int]:
    return list(range(int(outcomes.label.max()) + 1))


def _counts(part: xr.Dataset, reference: xr.Dataset, classes: int) -> xr.Dataset:
    """The table's counts and means of some configurations."""
    labels, halves = part.label.values, np.array(HALVES)
    in_half = part.half.values[:, None] == halves  # (N, halves)
    in_cell = in_half[:, :, None] & (labels[:, None, None] == np.arange(classes))
    images = in_cell.sum(0)
    in_tail = part.group.values == "tail"
    tail = np.unique(labels[in_tail])
    equal = 1 / np.take_along_axis(images, labels[None, :], 1).T * in_half / (images > 0).sum(1)
    each = tail_at_equal_head(part, reference)
    names = [
        str(part.group.values[labels == c][0]) if (labels == c).any() else ""
        for c in range(classes)
    ]
    cell, half = ("image", "half", "class"), ("image", "half")
    return xr.Dataset(
        {
            "correct": _sum(part.right, in_cell, cell).astype(np.int32),
            "images": (("half", "class"), images),
            "called_tail": _sum(part.predicted.isin(tail), in_half, half).astype(np.int32),
            "margin": _sum(part.margin, in_half / in_half.sum(0), half).astype(np.float32),
            "tail_at_equal_head": (100 * _sum(each, equal, half)).astype(np.float32),
        },
        {"half": list(HALVES), "class": range(classes), "group": ("class", names)},
    )


def _sum(values: xr.DataArray, weights: npt.NDArray, dims: Sequence[str]) -> xr.DataArray:
    """The sum over images of values (configuration, image), by half (and class)."""
    each = values.astype(np.float32).drop_vars(list(values.coords))
    return xr.dot(each, xr.DataArray(weights.astype(np.float64), dims=dims), dim="image")


def one_layer(widths: xr.DataArray) -> xr.DataArray:
    """Places (layer, bits) of the configurations with one layer alone at a width; 32 is float.

    Raises:
        InputError: the float model is missing, or there is no width that every layer has alone.
    """
    rows = widths.transpose("configuration", "layer").values
    place = {tuple(row): number for number, row in enumerate(rows.tolist())}
    layers = widths.sizes["layer"]
    found = {}
    for bits in sorted(set(rows.ravel().tolist()), reverse=True):
        alone = [(*[FLOAT] * k, bits, *[FLOAT] * (layers - k - 1)) for k in range(layers)]
        if all(row in place for row in alone):
            found[bits] = [place[row] for row in alone]
    if FLOAT not in found or len(found) < 2:
        raise InputError(
            "the configurations lack the float model, or every layer alone at some width: both "
            "are needed, add them"
        )
    coords = {"layer": widths.layer.values, "bits": list(found)}
    return xr.DataArray(np.array(list(found.values())).T, coords, ["layer", "bits"])


def lost(table: xr.Dataset, target: str, half: str) -> xr.DataArray:
    """True losses on a half against the float model, in points, (configuration,).

    Args:
        target: ``norm`` (all classes), a group such as ``tail``, or ``tail at equal head``: where
            the float model's head accuracy is out of reach, nothing of the tail is left.

    Raises:
        InputError: no such group.
    """
    of_half = table.sel(half=half)
    floating = int(one_layer(table.widths).sel(bits=FLOAT)[0])
    if target == EQUAL_HEAD:
        left = of_half.tail_at_equal_head.fillna(0).astype(float)
    else:
        left = group_mean(table, 100 * of_half.correct / of_half.images, target)
    found = left.isel(configuration=floating) - left
    return found.round(9).rename("lost")  # what sums leave below that is no difference


def group_mean(table: xr.Dataset, values: xr.DataArray, group: str) -> xr.DataArray:
    """The mean over the classes of a group, or over all (``norm``); without classes as they are.

    Raises:
        InputError: no such group.
    """
    if "class" not in values.dims:
        return values
    if group == "norm":
        return values.mean("class")
    members = np.flatnonzero(table.group.values == group)
    if not len(members):
        known = ", ".join(dict.fromkeys(["norm", *table.group.values.tolist()]))
        raise InputError(f"no class is of the group {group!r}: the groups are {known}")
    return values.isel({"class": members}).mean("class")


def mean_bits(table: xr.Dataset) -> xr.DataArray:
    """Bits a weight, averaged over all weights, (configuration,)."""
    return xr.DataArray(average_weight_bits(table.widths, table.parameters))


def rows_of(
    table: xr.Dataset, families: Sequence[str], low: float = 0.0, high: float = np.inf
) -> Ints:
    """Places of the configurations of some families, low to high bits a weight on average.

    Raises:
        InputError: there is none.
    """
    bits = mean_bits(table).values
    found = np.flatnonzero(np.isin(table.family.values, families) & (bits >= low) & (bits <= high))
    if not len(found):
        raise InputError(
            f"no configuration of {', '.join(families)} has {low:g} to {high:g} bits a weight"
        )
    return found


def with_metrics(table: xr.Dataset, metrics: Mapping[str, xr.DataArray] | xr.Dataset) -> xr.Dataset:
    """The table with what was measured otherwise, for proxies to read by name.

    Args:
        metrics: each (half, class, layer, bits) or those dimensions that it has, at all widths of
            the table but 32; interactions of pairs (half, class, pair, bits, other_bits) at any.

    Raises:
        InputError: a metric lacks the halves, a layer or a width.
    """
    needed = {
        "half": set(HALVES),
        "layer": set(table.layer.values.tolist()),
        "bits": set(table.bits.values.tolist()) - {FLOAT},
    }
    for name, values in metrics.items():
        if "half" not in values.dims:
            raise InputError(f"metric {name} has no dimension half: measure it on each half")
        for dim, labels in needed.items():
            known = set(values[dim].values.tolist()) if dim in values.dims else labels
            if "pair" not in values.dims and (missing := sorted(labels - known)):
                raise InputError(f"metric {name} lacks {dim} {missing[0]}: measure it there too")
    aligned = {
        str(name): values.reindex(bits=table.bits) if "bits" in values.dims else values
        for name, values in metrics.items()
    }
    return table.assign(aligned)


def seen(table: xr.Dataset, half: str, rows: Ints | None = None) -> xr.Dataset:
    """What a proxy may know: measurements on one half, and the widths of some configurations.

    Returns:
        ``widths`` (configuration, layer); ``images`` and ``accuracy`` of the float model in percent
        (class). With one layer alone, against float: ``lost`` (class, layer, bits), points of
        accuracy; ``curve`` (layer, bits), points of tail accuracy at equal head accuracy;
        ``called_tail`` (layer, bits), change of the share of images called tail, in points;
        ``margin`` (layer, bits), that of the mean margin. ``parameters`` and ``macs`` of layers,
        ``group`` of classes; and the metrics of :func:`with_metrics`.
    """
    of_half = table.sel(half=half, drop=True)
    place = one_layer(table.widths)
    share = 100 * of_half.called_tail / of_half.images.sum()
    accuracy = 100 * of_half.correct / of_half.images
    alone = {
        name: values.drop_vars(["family", "cluster"]).isel(configuration=place)
        for name, values in (("called_tail", share), ("margin", of_half.margin), ("kept", accuracy))
    }
    floating = {
        name: values.sel(bits=FLOAT, drop=True).isel(layer=0) for name, values in alone.items()
    }
    dropped = ["correct", "called_tail", "margin", "tail_at_equal_head"]
    view = of_half.drop_vars(dropped)
    view = view if rows is None else view.isel(configuration=rows)
    return view.assign(
        accuracy=floating["kept"],
        lost=floating["kept"] - alone["kept"],
        called_tail=alone["called_tail"] - floating["called_tail"],
        margin=alone["margin"] - floating["margin"],
    )
