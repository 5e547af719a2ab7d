"""The head-tail curve: tail accuracy against head accuracy as one offset varies.

Add one offset d to the logits of all tail classes and vary it: the model draws a curve of tail
accuracy against head accuracy (calibrated stacking and the area under the seen-unseen curve of
generalized zero-shot learning: Chao et al., ECCV 2016). Quantization moves a model *along* its
curve, which one number undoes, and pulls the curve *in*. Of each image we need the best head
class, the best tail class, and ``margin``, the best tail logit less the best head logit: the
prediction is the best tail class where ``margin + d > 0``, else the best head class. So the
prediction of an image changes at one offset, ``-margin``, and all is exact: there is no grid.

Offsets are chosen on one half of the images (coordinate ``half``) and judged on the other, then
the halves swap; both are put together again, an outcome an image.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from ltqlib.errors import InputError
from ltqlib.statistics.estimate import group_members

Floats = npt.NDArray[np.float64]
Reference = Mapping[str, Any] | xr.Dataset

NEEDED = ("best_head", "best_tail", "margin")
POINTS = ("best", "as it is")
ENOUGH = 1e-9  # accuracies that differ by less are the same
FLOAT = {"bits": 32}  # the model that others are compared with, unless told otherwise


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
        cls,
        images: Images,
        best_head: npt.NDArray,
        best_tail: npt.NDArray,
        margin: npt.NDArray,
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
        """The offset of the best norm accuracy: the middle of the interval that has it."""
        levels, offsets = self._steps(self.images.norm)
        return float(offsets[np.argmax(levels)])

    def at_head(self, accuracy: float) -> tuple[float, bool]:
        """The offset with head accuracy next to ``accuracy``, and whether the model reaches it."""
        levels, offsets = self._steps(self.images.head)
        reached = bool(levels.max() >= accuracy - ENOUGH)
        return float(offsets[np.argmin(np.abs(levels - accuracy))]), reached

    @cached_property
    def _order(self) -> npt.NDArray[np.intp]:
        return np.argsort(self.switch, kind="stable")

    @cached_property
    def _sorted(self) -> Floats:
        return self.switch[self._order]

    def _gains(self, weights: Floats) -> Floats:
        """What passing each image's switch adds to the weighted accuracy."""
        return weights * (self.right_high.astype(float) - self.right_low)

    def _steps(self, weights: Floats) -> tuple[Floats, Floats]:
        """Levels of the weighted accuracy from the lowest offset on, and an offset in each step.

        Of the first step, which has no lower end, it is the upper end; of the last the lower
        end plus 1.
        """
        gains = self._gains(weights)[self._order]
        places, gains = self._sorted[gains != 0], gains[gains != 0]
        if not len(places):
            return np.array([weights @ self.right_low]), np.zeros(1)
        last = np.append(np.diff(places) > 0, True)  # of images that switch at one offset
        levels = weights @ self.right_low + np.append(0.0, np.cumsum(gains)[last])
        places = places[last]
        between = (places[1:] + places[:-1]) / 2
        return levels, np.concatenate([places[:1], between, places[-1:] + 1])


def images_of(outcomes: xr.Dataset, head: str = "head", tail: str = "tail") -> Images:
    """The images of ``outcomes`` with the weights of two of their groups.

    Raises:
        InputError: a variable, coordinate or group is missing.
    """
    for name in NEEDED:
        if name not in outcomes:
            raise InputError(f"the outcomes have no {name}: evaluate whole models, not layers")
    for name in ("label", "group"):
        if name not in outcomes.coords or outcomes[name].dims != ("image",):
            raise InputError(f"the outcomes have no coordinate {name} on image")
    members = group_members(outcomes)
    for name in (head, tail):
        if name not in members:
            raise InputError(f"group {name!r} is not among the images': {', '.join(members)}")
    return Images.of(outcomes["label"].to_numpy(), np.array(members[head]), np.array(members[tail]))


def halves_of(outcomes: xr.Dataset) -> dict[str, npt.NDArray[np.bool_]]:
    """Masks (N,) of the two halves of the images, by name.

    Raises:
        InputError: the coordinate ``half`` is missing or has not two values.
    """
    if "half" not in outcomes.coords or outcomes["half"].dims != ("image",):
        raise InputError("the outcomes have no coordinate half on image: offsets need two halves")
    half = outcomes["half"].to_numpy()
    names = sorted(set(half.tolist()))
    if len(names) != 2:
        raise InputError(f"an offset is chosen on one half and judged on the other, not on {names}")
    return {name: half == name for name in names}


def head_tail_curve(
    outcomes: xr.Dataset,
    offsets: npt.ArrayLike | None = None,
    *,
    head: str = "head",
    tail: str = "tail",
) -> xr.Dataset:
    """Accuracy along the curve of every model, percent, on all of the images given.

    Args:
        outcomes: with ``best_head``, ``best_tail`` and ``margin`` of each image.
        offsets: (K,) numbers added to the logits of the tail's classes; left out, 201 that span
            the curve, and 0.
        head, tail: names of the two groups in the coordinate ``group``.

    Returns:
        ``head``, ``tail`` and ``norm`` (all classes) with the dimension ``offset`` instead of
        ``image``.

    Raises:
        InputError: a variable, coordinate or group is missing.
    """
    images = images_of(outcomes, head, tail)
    if offsets is None:
        low, high = np.nanpercentile(-outcomes["margin"].to_numpy(), [0.1, 99.9])
        offsets = np.unique(np.append(np.linspace(low, high, 201), 0.0))
    places = np.asarray(offsets, float)
    weights = (images.head, images.tail, images.norm)

    def along(*model: npt.NDArray) -> tuple[Floats, ...]:
        if np.isnan(model[2]).all():
            return tuple(np.full(places.shape, np.nan) for _ in weights)
        curve = Curve.of(images, *model)
        return tuple(100 * curve.accuracy(places, each) for each in weights)

    found = xr.apply_ufunc(
        along,
        *(outcomes[name] for name in NEEDED),
        input_core_dims=[["image"]] * 3,
        output_core_dims=[["offset"]] * 3,
        vectorize=True,
    )
    curves = xr.Dataset(dict(zip(("head", "tail", "norm"), found, strict=True)))
    return curves.assign_coords(offset=places)


def at_equal_head(
    outcomes: xr.Dataset,
    reference: Reference = FLOAT,
    *,
    point: str = "best",
    head: str = "head",
    tail: str = "tail",
) -> xr.DataArray:
    """Right (1) or wrong (0) of each image with all models at the reference's head accuracy.

    On one half of the images the reference takes the offset of its best norm accuracy (or stays as
    it is), and every model the offset at which it has the head accuracy that the reference has
    there; the outcomes are those on the other half. Then the halves swap.

    Args:
        outcomes: with ``best_head``, ``best_tail`` and ``margin`` of each image.
        reference: which of the models: a selection such as ``{"bits": 32}``, or outcomes of
            their own on the same images.
        point: "best", or "as it is".
        head, tail: names of the two groups in the coordinate ``group``.

    Returns:
        float32, NaN where the reference's head accuracy is out of a model's reach, even at the
        offset most favourable to the head; if one seed cannot reach it, all seeds of that row are
        NaN, for the mean of the others would flatter it. See :func:`equal_head` for more.

    Raises:
        InputError: a variable, coordinate, group or the reference is missing.
    """
    return equal_head(outcomes, reference, point=point, head=head, tail=tail)["right"]


def equal_head(
    outcomes: xr.Dataset,
    reference: Reference = FLOAT,
    *,
    point: str = "best",
    head: str = "head",
    tail: str = "tail",
) -> xr.Dataset:
    """What :func:`at_equal_head` returns, as ``right``, and how it came about.

    ``offset``: used on each half (dimension ``judged``), chosen on the other; ``target``: the
    head accuracy there of the reference, percent; ``reached``: whether the model reaches it.
    """
    if point not in POINTS:
        raise InputError(f'point {point!r} is unknown: use "best" or "as it is"')
    images, halves = images_of(outcomes, head, tail), halves_of(outcomes)
    targets = _targets(_selected(outcomes, reference), images, halves, point)

    def one(*arrays: npt.NDArray) -> tuple[npt.NDArray, ...]:
        *model, target = arrays
        right, offsets = np.full(len(images.labels), np.nan, np.float32), np.full(2, np.nan)
        reached = np.ones(2, bool)
        if np.isnan(model[2]).all() or np.isnan(target).any():  # a seed that is not there
            return right, offsets, reached
        whole = Curve.of(images, *model)
        for at, judged in enumerate(halves.values()):
            offsets[at], reached[at] = whole[~judged].at_head(target[at])
            right[judged] = whole[judged].right(offsets[at])
        return right, offsets, reached

    right, offset, reached = xr.apply_ufunc(
        one,
        *(outcomes[name] for name in NEEDED),
        targets,
        input_core_dims=[["image"]] * 3 + [["judged"]],
        output_core_dims=[["image"], ["judged"], ["judged"]],
        vectorize=True,
    )
    every = reached.all([dim for dim in ("judged", "seed") if dim in reached.dims])
    found = {"offset": offset, "target": 100 * targets, "reached": reached.all("judged")}
    return xr.Dataset({"right": right.where(every), **found}, attrs=dict(outcomes.attrs))


def _targets(
    reference: xr.Dataset,
    images: Images,
    halves: Mapping[str, npt.NDArray[np.bool_]],
    point: str,
) -> xr.DataArray:
    """Head accuracy of the reference (shares) on the half other than ``judged``."""

    def one(*model: npt.NDArray) -> Floats:
        if np.isnan(model[2]).all():
            return np.full(2, np.nan)
        whole, found = Curve.of(images, *model), []
        for judged in halves.values():
            curve = whole[~judged]
            offset = curve.best() if point == "best" else 0.0
            found.append(curve.accuracy(np.array([offset]), curve.images.head)[0])
        return np.array(found)

    targets = xr.apply_ufunc(
        one,
        *(reference[name] for name in NEEDED),
        input_core_dims=[["image"]] * 3,
        output_core_dims=[["judged"]],
        vectorize=True,
    )
    return targets.assign_coords(judged=list(halves))


def _selected(outcomes: xr.Dataset, reference: Reference) -> xr.Dataset:
    """The reference's outcomes, with no more dimensions than ``outcomes``."""
    if isinstance(reference, xr.Dataset):
        if reference.sizes.get("image") != outcomes.sizes["image"]:
            raise InputError("the reference must be evaluated on the images of the outcomes")
        images_of(reference)
        return reference
    for dim, value in reference.items():
        if dim not in outcomes.dims or value not in outcomes[dim].to_numpy().tolist():
            raise InputError(
                f"the outcomes have no {dim} = {value!r} to compare with: give reference="
            )
    return outcomes.sel(reference).drop_vars([dim for dim in reference if dim in outcomes.coords])
