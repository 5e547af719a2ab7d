"""Scores read from logits: how they change when one layer, or a whole model, is quantized.

They take logits (..., bits, image, class) with the float model at 32 bits, and keep every dimension
that they are not about: logits of one layer at a time give (class, layer, bits), those of whole
models over seeds (class, seed, bits).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy.special import log_softmax

from ltqlib.errors import InputError
from ltqlib.importance.model import by_class
from ltqlib.importance.noise import Variants, table_of
from ltqlib.models.graph import Graph

FLOAT = 32  # the width that is the float model


def one_layer_logits(
    graph: Graph, images: Any, variants: Variants, labels: npt.ArrayLike | None = None
) -> xr.DataArray:
    """Logits with one layer quantized and all others float, (layer, bits, image, class), float32.

    Args:
        images: as ``Graph.pixels`` takes them.
        variants: layers in quantized form, as :func:`ltqlib.quantization.variants` makes them.
        labels: (N,); they become the coordinate ``label`` on image.

    Returns:
        bits=32 is the float model, the same for every layer.

    Raises:
        InputError: other layers than the graph's, or layers with different widths.
    """
    from ltqlib import engine

    layers, bits = table_of(graph, variants)
    widths = np.full((len(layers), 1 + len(bits), len(layers)), FLOAT)
    for row in range(len(layers)):
        widths[row, 1:, row] = bits

    rows = widths.reshape(-1, len(layers))
    what = "one layer at a time"
    found = engine.predict(graph, variants, rows, images, engine.every, progress=what)["logits"]
    shaped = found.reshape(*widths.shape[:2], *found.shape[1:])
    coords: dict[str, Any] = {"layer": layers, "bits": [FLOAT, *bits]}
    if labels is not None:
        coords["label"] = ("image", np.asarray(labels))
    return xr.DataArray(shaped, coords, ("layer", "bits", "image", "class"))


def accuracy_drop(logits: xr.DataArray) -> xr.DataArray:
    """Points of accuracy lost by each class, (class, ...): the post's sensitivity.

    Args:
        logits: (..., bits, image, class), 32 among bits, with the coordinate ``label`` on image.

    Raises:
        InputError: a dimension, the float model or the labels are missing.
    """
    now, before = _pair(logits, labels=True)
    right = [(each.argmax("class") == each["label"]).astype(float) for each in (before, now)]
    return by_class(100 * (right[0] - right[1]))


def loss_increase(logits: xr.DataArray) -> xr.DataArray:
    """Increase of the mean cross-entropy of each class, in nats, (class, ...).

    Arguments and errors as :func:`accuracy_drop`.
    """
    now, before = _pair(logits, labels=True)
    return by_class(_cross_entropy(now) - _cross_entropy(before))


def kl_divergence(logits: xr.DataArray) -> xr.DataArray:
    """Mean Kullback-Leibler divergence of the softmax, ``KL(float || quantized)``, in nats.

    The labels only say which class an image is in. ZeroQ's sensitivity (Cai et al., CVPR 2020) with
    the float network's output first. Arguments and errors as :func:`accuracy_drop`.

    Returns:
        (class, ...), none below zero but for rounding.
    """
    now, before = (_log_softmax(each) for each in _pair(logits, labels=True))
    probability = before.copy(data=np.exp(before.values))
    return by_class((probability * (before - now)).sum("class"))


def called_tail(logits: xr.DataArray, tail: Sequence[int]) -> xr.DataArray:
    """Change of the share of images that are called tail, in points; it needs no label.

    Args:
        logits: (..., bits, image, class), 32 among bits.
        tail: labels of the tail; every other class counts as head.

    Returns:
        (...): below zero where quantization calls fewer images tail.

    Raises:
        InputError: a dimension or the float model is missing, or the tail is none or all classes.
    """
    inside = _tail(logits, tail)
    shares = [
        xr.apply_ufunc(lambda c: inside[c], each.argmax("class")).mean("image")
        for each in _pair(logits)
    ]
    return 100 * (shares[0] - shares[1])


def logit_gap(logits: xr.DataArray, tail: Sequence[int]) -> xr.DataArray:
    """Change of the mean logit of tail classes less that of head classes; it needs no label.

    Arguments and errors as :func:`called_tail`.
    """
    inside = _tail(logits, tail)
    weight = xr.DataArray(np.where(inside, 1 / inside.sum(), -1 / (~inside).sum()), dims="class")
    now, before = (
        xr.dot(each.astype(float).mean("image").drop_vars("class", errors="ignore"), weight,
               dim="class")
        for each in _pair(logits)
    )  # fmt: skip
    return now - before


def _pair(logits: xr.DataArray, labels: bool = False) -> tuple[xr.DataArray, xr.DataArray]:
    """Logits without the float model, and those of the float model."""
    if missing := [dim for dim in ("bits", "image", "class") if dim not in logits.dims]:
        raise InputError(f"the dimension {missing[0]} is missing: there are {logits.dims}")
    if FLOAT not in logits["bits"].values:
        raise InputError("there is no float model at bits=32: measure it as well")
    if labels and "label" not in logits.coords:
        raise InputError("the coordinate label on image is missing: give the images' labels")
    others = [b for b in logits["bits"].values if b != FLOAT]
    return logits.sel(bits=others), logits.sel(bits=FLOAT, drop=True)


def _tail(logits: xr.DataArray, tail: Sequence[int]) -> npt.NDArray[np.bool_]:
    inside = np.isin(np.arange(logits.sizes.get("class", 0)), list(tail))
    if inside.all() or not inside.any():
        raise InputError("the tail needs some of the classes: not none, and not all")
    return inside


def _log_softmax(logits: xr.DataArray) -> xr.DataArray:
    axis = logits.get_axis_num("class")
    return logits.copy(data=log_softmax(logits.values.astype(np.float64), axis=axis))


def _cross_entropy(logits: xr.DataArray) -> xr.DataArray:
    """Of each image, (..., image)."""
    last = _log_softmax(logits.transpose(..., "image", "class"))
    labels = logits["label"].values.astype(np.int64)
    picked = -last.values[..., np.arange(len(labels)), labels]
    return last.isel({"class": 0}, drop=True).copy(data=picked)
