"""Losses of each class by layer and width, and what they add up to under an allocation.

The model is additive: the loss of class c under the widths b is the sum over layers l of
``losses[c, l, b_l]``, each measured with only that layer quantized.
"""

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import xarray as xr

from ltqlib.errors import InputError

FLOAT = 32  # the width of a layer that is not quantized
TABLE = ("class", "layer", "bits")


class InfeasibleError(InputError):
    """No widths keep all limits.

    Attributes:
        nearest: ``{limit's name: value}``; each value is the smallest limit that can be met.
        together: whether all of ``nearest`` are needed; if not, any one of them is enough while
            the other limits stay as they are.
    """

    def __init__(
        self, limits: Mapping[str, float], nearest: Mapping[str, float], together: bool = False
    ) -> None:
        self.nearest, self.together = dict(nearest), together
        kept = " and ".join(f"{name} <= {limit:g}" for name, limit in limits.items())
        raised = [f"{name} to at least {_rounded_up(value)}" for name, value in nearest.items()]
        super().__init__(
            f"no widths keep {kept}: raise {(' and ' if together else ', or ').join(raised)}"
        )


def _rounded_up(value: float, digits: int = 6) -> str:
    """``value`` with few digits, never below it: who types it in gets a limit that can be met."""
    if value == 0:
        return "0"
    step = 10.0 ** (math.floor(math.log10(abs(value))) - digits + 1)
    return f"{math.ceil(value / step - 1e-6) * step:.{digits}g}"


def class_losses(alone: xr.Dataset | xr.DataArray) -> xr.DataArray:
    """Points of accuracy that each class loses with one layer alone at a width.

    Args:
        alone: what :func:`ltqlib.sensitivity` returns: the variable ``right`` (..., layer, bits,
            image), 32 bits being the float model, with the coordinate ``label`` (and ``group``) on
            image. Or losses (..., class, layer, bits) in any unit, which stay as they are.

    Returns:
        (..., class, layer, bits), negative where rounding helps a class; with the coordinate
        ``group`` on class, and ``parameters`` and ``macs`` on layer, where they are known.

    Raises:
        InputError: the float model is not there, a class has no image, a layer or width is there
            twice, or a value is missing.
    """
    if isinstance(alone, xr.Dataset):
        alone = _points_lost(alone)
    if not isinstance(alone, xr.DataArray) or alone.dtype.kind not in "biuf":
        raise InputError("losses are a DataArray of numbers, or what sensitivity returns")
    if missing := [name for name in TABLE if name not in alone.dims or name not in alone.coords]:
        raise InputError(
            f"the losses have no dimension {missing[0]} with a coordinate: give class, layer, bits"
        )
    losses = alone.astype(float).transpose(..., *TABLE)
    for name in TABLE:
        values = losses[name].values.tolist()
        if not values or len(set(values)) < len(values):
            raise InputError(f"the losses have no {name}, or one of them twice: {values}")
    absent = np.argwhere(~np.isfinite(losses.values))
    if len(absent):
        label, layer, bits = (
            losses[name].values[place] for name, place in zip(TABLE, absent[0][-3:], strict=True)
        )
        raise InputError(
            f"class {label} has no loss for {layer} at {bits} bits, or one that is not finite: "
            "measure at least one image of every class, or leave the class out"
        )
    return losses


def _points_lost(alone: xr.Dataset) -> xr.DataArray:
    if "right" not in alone or "label" not in alone.coords:
        raise InputError("the sensitivity has no right, or no label of the images")
    right, labels = alone["right"], alone["label"].values
    if not labels.size or labels.dtype.kind not in "iu" or labels.min() < 0:
        raise InputError("the sensitivity has no images, or labels that are no whole numbers")
    if right.dtype.kind not in "biuf":
        raise InputError(f"right is 1 or 0 of each image, not {right.dtype}")
    if missing := {"layer", "bits", "image"} - set(right.dims):
        raise InputError(
            f"the sensitivity has no dimension {min(missing)}: give right (layer, bits, image)"
        )
    if FLOAT not in right.bits.values:
        raise InputError(
            "the sensitivity has no 32 bits, the float model that losses are held against: "
            "measure it with bits=[32, ...]"
        )
    classes = range(len(alone.attrs.get("classes", ())) or int(labels.max()) + 1)
    of_class = [np.flatnonzero(labels == label) for label in classes]
    accuracy = xr.concat(
        [right.isel(image=images).mean("image") for images in of_class if len(images)],
        xr.DataArray([c for c in classes if len(of_class[c])], dims="class", name="class"),
    ).reindex({"class": list(classes)})
    lost = 100 * (accuracy.sel(bits=FLOAT, drop=True) - accuracy)
    if "group" in alone.coords:
        groups = alone["group"].values
        names = [groups[images[0]] if len(images) else "" for images in of_class]
        lost = lost.assign_coords(group=("class", names))
    return lost.transpose(..., *TABLE)


def groups_of(losses: xr.DataArray) -> dict[str, list[int]]:
    """Places of the classes of each group, as the coordinate ``group`` names them."""
    names = losses["group"].values.tolist() if "group" in losses.coords else []
    return {name: [c for c, of in enumerate(names) if of == name] for name in dict.fromkeys(names)}


def at_widths(table: xr.DataArray, widths: xr.DataArray) -> xr.DataArray:
    """The entry of a table (..., layer, bits) for each layer of each configuration.

    Args:
        widths: weight bits, (..., layer). Where the table has no 32 bits, a float layer counts 0.

    Returns:
        (..., layer): the dimensions of both but bits.

    Raises:
        InputError: a layer or a width that the table does not have.
    """
    if FLOAT not in table.bits.values:
        table = table.reindex(bits=[*table.bits.values, FLOAT], fill_value=0)
    _check_known(widths.layer.values, table.layer.values, "layer {}")
    _check_known(widths.values, table.bits.values, "{} bits")
    return table.sel(layer=widths.layer, bits=widths).drop_vars("bits")


def predicted_losses(losses: xr.DataArray, widths: xr.DataArray) -> xr.DataArray:
    """What the model says that configurations lose: the sum over layers.

    Args:
        losses: (..., layer, bits).
        widths: weight bits (..., layer).

    Returns:
        the dimensions of losses and widths but layer and bits.
    """
    return at_widths(losses, widths).sum("layer")


def _check_known(given: npt.ArrayLike, known: npt.ArrayLike, words: str) -> None:
    if unknown := sorted(set(np.unique(given).tolist()) - set(np.unique(known).tolist())):
        raise InputError(
            f"a configuration has {words.format(unknown[0])}, the losses have "
            f"{', '.join(map(str, np.asarray(known).tolist()))}: measure it first"
        )
