"""Outcomes of many configurations as a small labelled table, and what a proxy may see of it.

The table of one network holds, by half of the test images (``half``):

- ``correct`` (half, class, configuration): images predicted right; ``images`` (half, class).
- ``called_tail`` (half, configuration): images predicted as any class of the tail.
- ``tail_at_equal_head`` (half, configuration): tail accuracy in percent where every model has the
  head accuracy of the float model at its best operating point; NaN where that is out of reach.
- ``curve`` (half, layer, bits): points of that accuracy lost with one layer alone, measured within
  the half.

and ``widths`` (configuration, layer).
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import xarray as xr

from ltqlib.allocation import curve_losses
from ltqlib.bench.configurations import FLOAT
from ltqlib.data.halves import HALVES
from ltqlib.errors import InputError
from ltqlib.statistics import tail_at_equal_head
from ltqlib.statistics.losses import GROUP

EQUAL_HEAD = GROUP  # the tail at equal head accuracy
TARGETS = ("tail", EQUAL_HEAD)  # the losses that proxies are scored against
KEPT = ("label", "group", "half")  # coordinates of the outcomes
STEP = 500  # configurations at once


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
        target: ``norm`` (all classes), a group such as ``tail``, or ``tail, equal head``: where
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


def with_metrics(table: xr.Dataset, metrics: xr.Dataset) -> xr.Dataset:
    """The table with what was measured otherwise, for proxies to read by name.

    Args:
        metrics: of one network, as ``ltqlib.experiment.metrics`` measures them: each (half, class,
            layer, bits) or those dimensions that it has, at all widths of the table but 32.

    Raises:
        InputError: a metric lacks the halves, a layer or a width.
    """
    for dim in ("half", "layer", "bits"):
        wanted = {*table[dim].values.tolist()} - {FLOAT}
        known = {*metrics[dim].values.tolist()} if dim in metrics.dims else set()
        if missing := sorted(wanted - known):
            raise InputError(f"the metrics lack {dim} {missing[0]}: measure them there too")
    own = ["accuracy", "called_tail"]  # the table counts these itself
    metrics = metrics.drop_vars([*own, "group"], errors="ignore")
    return table.assign(metrics.reindex(bits=table.bits).data_vars)


def seen(table: xr.Dataset, half: str) -> xr.Dataset:
    """What a proxy may know: measurements on one half, and the widths of random configurations.

    Returns:
        ``widths`` (configuration, layer). With one layer alone, against float: ``lost`` (class,
        layer, bits), points of accuracy; ``curve`` (layer, bits), points of tail accuracy at equal
        head accuracy; ``called_tail`` (layer, bits), change of the share of images called tail, in
        points. ``parameters`` and ``macs`` of layers, ``group`` of classes; and the metrics of
        :func:`with_metrics`.
    """
    of_half = table.sel(half=half, drop=True)
    place = one_layer(table.widths)
    change = {
        "lost": -100 * of_half.correct / of_half.images,
        "called_tail": 100 * of_half.called_tail / of_half.images.sum(),
    }
    for name, values in change.items():
        alone = values.drop_vars(["family", "cluster"]).isel(configuration=place)
        change[name] = alone - alone.sel(bits=FLOAT, drop=True)
    hidden = ["correct", "images", "called_tail", "tail_at_equal_head"]
    random = table.family.values == "random"
    return of_half.drop_vars(hidden).isel(configuration=random).assign(change)
