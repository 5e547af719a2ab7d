"""The head-tail curve: tail accuracy against head accuracy as one offset varies.

Add one offset d to the logits of all tail classes and vary it: the model draws a curve of tail
accuracy against head accuracy (calibrated stacking and the area under the seen-unseen curve of
generalized zero-shot learning: Chao et al., ECCV 2016). Quantization moves a model *along* its
curve, which one number undoes, and pulls the curve *in*. Of each image we need the best head
class, the best tail class, and ``margin``, the best tail logit less the best head logit: the
prediction is the best tail class where ``margin + d > 0``, else the best head class. So the
prediction of an image changes at one offset, ``-margin``, and all is exact: there is no grid.

A point of the curve that is chosen is chosen on one half of the images and judged on the other: see
:mod:`ltqlib.statistics.operating`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from ltqlib.errors import InputError
from ltqlib.statistics.estimate import group_members

Floats = npt.NDArray[np.float64]
NEEDED = ("best_head", "best_tail", "margin")
ENOUGH = 1e-9  # accuracies that differ by less are the same
NEAR_BEST = 0.005  # the curve is flat at its top: this close to it counts as the top
SLOPE_REACH = 0.03  # slopes are taken between head accuracies this far on both sides


@dataclass(frozen=True)
class Images:
    """What is known of N images beside what a model makes of them.

    ``head``, ``tail``, ``norm``: (N,) weights that turn "right" into the mean of the accuracies of
    the classes of that group, 0 for images outside it; they sum to 1.
    """

    labels: npt.NDArray
    head: Floats
    tail: Floats
    norm: Floats

    @classmethod
    def of(cls, labels: npt.NDArray, head: npt.NDArray, tail: npt.NDArray) -> "Images":
        """From labels (N,) and the labels of the classes of each group."""
        _, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
        each = 1 / counts[codes]
        weights = [each * np.isin(labels, members) for members in (head, tail)]
        return cls(labels, *(w / w.sum() for w in (*weights, each)))

    def __getitem__(self, images: npt.NDArray) -> "Images":
        """Some of the images; every class keeps its weight where halves are stratified."""
        parts = (self.labels, self.head, self.tail, self.norm)
        labels, *weights = (part[images] for part in parts)
        return Images(labels, *(w / w.sum() for w in weights))


@dataclass(frozen=True)
class Curve:
    """The curve of one model on N images: accuracies are shares, not percent."""

    images: Images
    switch: Floats  # (N,) -margin: above this offset the image is called by its best tail class
    right_low: npt.NDArray[np.bool_]  # (N,) right up to the switch
    right_high: npt.NDArray[np.bool_]  # (N,) right above it

    @classmethod
    def of(
        cls, images: Images, best_head: npt.NDArray, best_tail: npt.NDArray, margin: npt.NDArray
    ) -> "Curve":
        """From what a model says of each image, each (N,)."""
        right = (best_head == images.labels, best_tail == images.labels)
        return cls(images, -np.asarray(margin, float), *right)

    def __getitem__(self, images: npt.NDArray) -> "Curve":
        """The curve on some of the images."""
        return Curve(
            self.images[images],
            self.switch[images],
            self.right_low[images],
            self.right_high[images],
        )

    def right(self, offset: float) -> npt.NDArray[np.bool_]:
        """Whether each image is right with the offset, (N,)."""
        return np.where(self.switch < offset, self.right_high, self.right_low)

    def accuracy(self, offsets: Floats, weights: Floats) -> Floats:
        """Weighted accuracy at each offset, (K,)."""
        steps = np.concatenate([[0.0], np.cumsum(self._gains(weights)[self._order])])
        return weights @ self.right_low + steps[np.searchsorted(self._sorted, offsets)]

    def best(self) -> float:
        """The offset of the best norm accuracy.

        The mean of all offsets with a norm accuracy within half a point of the highest: the curve
        is flat there, and the highest of its steps alone is mostly chance.
        """
        levels, offsets, widths = self._steps(self.images.norm)
        near = levels >= levels.max() - NEAR_BEST - ENOUGH
        if not widths[near].sum():
            return float(offsets[np.argmax(levels >= levels.max() - ENOUGH)])
        return float(np.average(offsets[near], weights=widths[near]))

    def at_head(self, accuracy: float) -> tuple[float, bool]:
        """The offset with head accuracy next to ``accuracy``, and whether the model reaches it.

        Of several the lowest.
        """
        levels, offsets, _ = self._steps(self.images.head)
        reached = bool(levels.max() >= accuracy - ENOUGH)
        away = np.abs(levels - accuracy)
        # many steps have the same accuracy but for rounding, which processors do in their own ways
        return float(offsets[np.argmax(away <= away.min() + ENOUGH)]), reached

    def slope(self, accuracy: float) -> float:
        """Tail accuracy given up for one point more of head accuracy, near ``accuracy``."""
        around = [self.at_head(accuracy + step)[0] for step in (-SLOPE_REACH, SLOPE_REACH)]
        head, tail = (
            np.diff(self.accuracy(np.array(around), weights))[0]
            for weights in (self.images.head, self.images.tail)
        )
        return float(-tail / head) if head else 0.0

    @cached_property
    def _order(self) -> npt.NDArray[np.intp]:
        return np.argsort(self.switch, kind="stable")

    @cached_property
    def _sorted(self) -> Floats:
        return self.switch[self._order]

    def _gains(self, weights: Floats) -> Floats:
        """What passing each image's switch adds to the weighted accuracy."""
        return weights * (self.right_high.astype(float) - self.right_low)

    def _steps(self, weights: Floats) -> tuple[Floats, Floats, Floats]:
        """The weighted accuracy from the lowest offset on: levels, an offset in each, widths.

        The first step has no lower end and the last no upper one: their width is given as 0 and
        their offset is the end they have, or 1 beyond it.
        """
        gains = self._gains(weights)[self._order]
        places, gains = self._sorted[gains != 0], gains[gains != 0]
        if not len(places):
            return np.array([weights @ self.right_low]), np.zeros(1), np.zeros(1)
        last = np.append(np.diff(places) > 0, True)  # of images that switch at one offset
        levels = weights @ self.right_low + np.append(0.0, np.cumsum(gains)[last])
        places = places[last]
        between = (places[1:] + places[:-1]) / 2
        offsets = np.concatenate([places[:1], between, places[-1:] + 1])
        return levels, offsets, np.concatenate([[0.0], np.diff(places), [0.0]])


def images_of(outcomes: xr.Dataset) -> Images:
    """The images of ``outcomes`` with the weights of their groups head and tail."""
    if not isinstance(outcomes, xr.Dataset):
        raise InputError(f"outcomes are a Dataset, not {type(outcomes).__name__}: see evaluate")
    for name in NEEDED:
        if name not in outcomes:
            raise InputError(f"the outcomes have no {name}: evaluate whole models, not layers")
    for name in ("label", "group"):
        if name not in outcomes.coords or outcomes[name].dims != ("image",):
            raise InputError(f"the outcomes have no coordinate {name} on image")
    margin = outcomes["margin"]
    if margin.dtype.kind not in "biuf" or np.isinf(margin.values).any() or not margin.size:
        raise InputError("margins are finite numbers, and NaN where nothing was measured")
    members = group_members(outcomes)
    for name in ("head", "tail"):
        if name not in members:
            raise InputError(f"group {name!r} is not among the images': {', '.join(members)}")
    return Images.of(
        outcomes["label"].to_numpy(), np.array(members["head"]), np.array(members["tail"])
    )


def of_each_model(
    function: Callable[..., tuple[npt.NDArray, ...]],
    outcomes: xr.Dataset,
    images: Images,
    returned: Sequence[Mapping[str, int]],
    *more: xr.DataArray,
) -> tuple[xr.DataArray, ...]:
    """What ``function(curve, *more)`` returns for the curve of every model; NaN where it has none.

    Args:
        returned: dimensions and their sizes of each array that the function returns.
        more: of each model, with the dimension ``judged``; where it is NaN, so is the result.
    """

    def one(*arrays: npt.NDArray) -> Any:
        model, rest = arrays[: len(NEEDED)], arrays[len(NEEDED) :]
        if np.isnan(model[2]).all() or any(np.isnan(each).any() for each in rest):
            found = tuple(np.full(tuple(sizes.values()), np.nan) for sizes in returned)
        else:
            found = function(Curve.of(images, *model), *rest)
        return found if len(found) > 1 else found[0]

    found = xr.apply_ufunc(
        one,
        *(outcomes[name] for name in NEEDED),
        *more,
        input_core_dims=[["image"]] * len(NEEDED) + [["judged"]] * len(more),
        output_core_dims=[list(sizes) for sizes in returned],
        vectorize=True,
    )
    return found if isinstance(found, tuple) else (found,)


def head_tail_curve(outcomes: xr.Dataset, offsets: npt.ArrayLike | None = None) -> xr.Dataset:
    """Accuracy along the curve of every model, percent, on all of the images given.

    Args:
        outcomes: with ``best_head``, ``best_tail`` and ``margin`` of each image, and the groups
            ``head`` and ``tail`` in the coordinate ``group``.
        offsets: (K,) numbers added to the logits of the tail's classes; left out, 201 that span
            the curve, and 0.

    Returns:
        ``head``, ``tail`` and ``norm`` (all classes) with the dimension ``offset`` instead of
        ``image``.

    Raises:
        InputError: a variable, coordinate or group is missing.
    """
    images = images_of(outcomes)
    if outcomes["margin"].isnull().all():
        raise InputError("the outcomes have no model that was measured: all margins are NaN")
    if offsets is None:
        low, high = np.nanpercentile(-outcomes["margin"].to_numpy(), [0.1, 99.9])
        offsets = np.unique(np.append(np.linspace(low, high, 201), 0.0))
    places = np.asarray(offsets, float)
    weights = (images.head, images.tail, images.norm)

    def along(curve: Curve) -> tuple[Floats, ...]:
        return tuple(100 * curve.accuracy(places, each) for each in weights)

    found = of_each_model(along, outcomes, images, [{"offset": len(places)}] * 3)
    curves = xr.Dataset(dict(zip(("head", "tail", "norm"), found, strict=True)))
    return curves.assign_coords(offset=places)
