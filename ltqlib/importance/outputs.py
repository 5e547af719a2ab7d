"""Scores read from outputs: how the logits change when one layer, or a whole model, is quantized.

They take labelled arrays and keep every dimension that they are not about: logits of one layer at a
time give (class, layer, bits), those of whole models over seeds (class, seed, bits).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy.special import log_softmax

from ltqlib.errors import InputError
from ltqlib.importance.groups import Groups, image_shares, mean_of
from ltqlib.importance.noise import Variants, table_of
from ltqlib.models.graph import Graph
from ltqlib.statistics.estimate import group_members

FLOAT = 32  # the width that is the float model


def one_layer_logits(
    graph: Graph,
    images: Any,
    variants: Variants,
    labels: npt.ArrayLike | None = None,
    progress: str = "one layer at a time",
) -> xr.DataArray:
    """Logits with one layer quantized and all others float, (layer, bits, image, class), float32.

    Args:
        images: as ``Graph.pixels`` takes them.
        variants: layers in quantized form, as :func:`ltqlib.quantization.variants` makes them.
        labels: (N,); they become the coordinate ``label`` on image.

    Returns:
        bits=32 is the float model, the same for every layer.

    Raises:
        InputError: an unknown layer, or layers with different widths.
    """
    from ltqlib import engine

    layers, bits = table_of(graph, variants)
    columns = [list(graph.layers).index(name) for name in layers]
    widths = np.full((len(layers), 1 + len(bits), len(graph.layers)), FLOAT)
    for row, column in enumerate(columns):
        widths[row, 1:, column] = bits

    def whole(logits: Any) -> dict[str, Any]:
        return {"logits": logits.float().cpu().numpy()}

    rows = widths.reshape(-1, len(graph.layers))
    found = engine.predict(graph, variants, rows, images, whole, progress=progress)["logits"]
    shaped = found.reshape(*widths.shape[:2], *found.shape[1:])
    coords: dict[str, Any] = {"layer": layers, "bits": [FLOAT, *bits]}
    if labels is not None:
        coords["label"] = ("image", np.asarray(labels))
    return xr.DataArray(shaped, coords, ("layer", "bits", "image", "class"))


def loss_increase(
    logits: xr.DataArray, reference: xr.DataArray | None = None, groups: Groups | None = None
) -> xr.DataArray:
    """Increase of the mean cross-entropy of each class, in nats, (class, ...).

    Args:
        logits: (..., image, class) with the coordinate ``label`` on image.
        reference: those of the float model on the same images; left out, ``logits.sel(bits=32)``.
        groups: name -> classes, for means over the classes of a group instead, (group, ...).

    Raises:
        InputError: a dimension, the labels or the reference is missing, or a class has no image.
    """
    logits, reference = _pair(logits, reference, "class")
    shares = image_shares(_labels(logits), groups)
    return mean_of(_cross_entropy(logits) - _cross_entropy(reference), shares)


def kl_divergence(
    logits: xr.DataArray, reference: xr.DataArray | None = None, groups: Groups | None = None
) -> xr.DataArray:
    """Mean Kullback-Leibler divergence of the softmax, ``KL(float || quantized)``, in nats.

    The labels only say which class an image is in. ZeroQ's sensitivity (Cai et al., CVPR 2020) with
    the float network's output first. Arguments and errors as :func:`loss_increase`.

    Returns:
        (class, ...), none below zero but for rounding.
    """
    logits, reference = _pair(logits, reference, "class")
    shares = image_shares(_labels(logits), groups)
    before, after = _log_softmax(reference), _log_softmax(logits)
    probability = before.copy(data=np.exp(before.values))
    return mean_of((probability * (before - after)).sum("class"), shares)


def called_tail(
    predicted: xr.DataArray,
    reference: xr.DataArray | None = None,
    tail: Sequence[int] | None = None,
) -> xr.DataArray:
    """Change of the share of images that are called tail, in points; it needs no label.

    Args:
        predicted: classes (..., image).
        reference: those of the float model; left out, ``predicted.sel(bits=32)``.
        tail: labels of the tail; left out, those of "tail" in the coordinate ``group`` on image.

    Returns:
        (...): below zero where quantization calls fewer images tail.

    Raises:
        InputError: a dimension, the reference or the tail is missing.
    """
    members = _tail(predicted, tail)
    predicted, reference = _pair(predicted, reference)
    shares = [each.isin(members).mean("image") for each in (predicted, reference)]
    return 100 * (shares[0] - shares[1])


def logit_gap(
    logits: xr.DataArray,
    reference: xr.DataArray | None = None,
    tail: Sequence[int] | None = None,
) -> xr.DataArray:
    """Change of the mean logit of tail classes less that of head classes; it needs no label.

    Arguments and errors as :func:`called_tail`, for logits (..., image, class); every class that is
    not of the tail counts as head.
    """
    inside = np.isin(np.arange(logits.sizes.get("class", 0)), _tail(logits, tail))
    if inside.all() or not inside.any():
        raise InputError("the tail needs some of the classes: not none, and not all")
    logits, reference = _pair(logits, reference, "class")
    weight = np.where(inside, 1 / inside.sum(), -1 / (~inside).sum())
    gaps = [
        xr.dot(each.astype(float).mean("image"), xr.DataArray(weight, dims="class"), dim="class")
        for each in (logits.drop_vars("class", errors="ignore"),
                     reference.drop_vars("class", errors="ignore"))
    ]  # fmt: skip
    return gaps[0] - gaps[1]


def _pair(
    values: xr.DataArray, reference: xr.DataArray | None, *needed: str
) -> tuple[xr.DataArray, xr.DataArray]:
    """Values without the float model, and those of the float model."""
    if missing := [dim for dim in ("image", *needed) if dim not in values.dims]:
        raise InputError(f"the dimension {missing[0]} is missing: there are {values.dims}")
    if reference is None:
        if "bits" not in values.dims or FLOAT not in values["bits"].values:
            raise InputError("there is no float model at bits=32: give it as reference=...")
        reference = values.sel(bits=FLOAT, drop=True)
        values = values.sel(bits=[b for b in values["bits"].values if b != FLOAT])
    if any(values.sizes[dim] != reference.sizes.get(dim) for dim in ("image", *needed)):
        raise InputError(
            f"the float model's values have the sizes {dict(reference.sizes)}, the others "
            f"{dict(values.sizes)}: give outputs on the same images"
        )
    return values, reference


def _labels(logits: xr.DataArray) -> npt.NDArray:
    if "label" not in logits.coords:
        raise InputError("the coordinate label on image is missing: give the images' labels")
    return logits["label"].values


def _tail(values: xr.DataArray, tail: Sequence[int] | None) -> list[int]:
    members = group_members(values).get("tail", []) if tail is None else list(tail)
    if not members:
        raise InputError("no class is of the group tail: give tail=[labels]")
    return members


def _log_softmax(logits: xr.DataArray) -> xr.DataArray:
    axis = logits.get_axis_num("class")
    return logits.copy(data=log_softmax(logits.values.astype(np.float64), axis=axis))


def _cross_entropy(logits: xr.DataArray) -> xr.DataArray:
    """Of each image, (..., image)."""
    last = _log_softmax(logits.transpose(..., "image", "class"))
    labels = logits["label"].values.astype(np.int64)
    picked = -last.values[..., np.arange(len(labels)), labels]
    return last.isel({"class": 0}, drop=True).copy(data=picked)
