"""Points of the head-tail curve that are chosen: at equal head accuracy, and at its best.

Offsets are chosen on one half of the images (coordinate ``half``) and judged on the other, then
the halves swap; both are put together again, an outcome an image.

**Intervals.** The offset that gives a model the reference's head accuracy is itself an estimate:
the head images on which the two models differ decide it. On the curve an error e of the head
accuracy is an error ``slope * e`` of the tail accuracy, with ``slope`` the tail accuracy given up
for a point of head accuracy. So the tail accuracy at equal head is, to first order::

    mean over tail classes of right  +  slope * mean over head classes of (right - reference right)

and :func:`tail_at_equal_head` gives to each image its term of this sum. Intervals made of it cover
as they should; intervals of the tail's outcomes alone, which take the offset for known, cover 60 %
to 70 % with one seed (tests/statistics/test_coverage.py).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from ltqlib.errors import InputError
from ltqlib.statistics.curve import Curve, Floats, images_of, of_each_model

Reference = Mapping[str, Any] | xr.Dataset
Halves = Mapping[str, npt.NDArray[np.bool_]]

FLOAT = {"bits": 32}  # the model that others are compared with, unless told otherwise


def halves_of(outcomes: xr.Dataset) -> Halves:
    """Masks (N,) of the two halves of the images, by name."""
    if "half" not in outcomes.coords or outcomes["half"].dims != ("image",):
        raise InputError("the outcomes have no coordinate half on image: offsets need two halves")
    half = outcomes["half"].to_numpy()
    names = sorted(set(half.tolist()))
    if len(names) != 2:
        raise InputError(f"an offset is chosen on one half and judged on the other, not on {names}")
    return {name: half == name for name in names}


def at_equal_head(outcomes: xr.Dataset, reference: Reference = FLOAT) -> xr.DataArray:
    """Right (1) or wrong (0) of each image with all models at the reference's head accuracy.

    On one half of the images the reference takes the offset of its best norm accuracy, and every
    model the offset at which it has the head accuracy that the reference has there; the outcomes
    are those on the other half. Then the halves swap.

    Args:
        outcomes: with ``best_head``, ``best_tail`` and ``margin`` of each image.
        reference: which of the models: a selection such as ``{"bits": 32}``, or outcomes of
            their own on the same images.

    Returns:
        float32, NaN where the reference's head accuracy is out of a model's reach, even at the
        offset most favourable to the head; if one seed cannot reach it, all seeds of that row are
        NaN, for the mean of the others would flatter it. See :func:`equal_head` for more.

    Raises:
        InputError: a variable, coordinate, group or the reference is missing.
    """
    return equal_head(outcomes, reference)["right"]


def equal_head(outcomes: xr.Dataset, reference: Reference = FLOAT) -> xr.Dataset:
    """What :func:`at_equal_head` returns, as ``right``, and how it came about.

    ``offset``: used on each half (dimension ``judged``), chosen on the other; ``target``: the
    head accuracy there of the reference, percent; ``reached``: whether the model reaches it;
    ``slope``: tail accuracy that the model gives up there for one point more of head accuracy.
    """
    images, halves = images_of(outcomes), halves_of(outcomes)
    count, two = len(images.labels), {"judged": len(halves)}

    def target_of(curve: Curve) -> tuple[Floats]:
        parts = [curve[~judged] for judged in halves.values()]
        each = [part.accuracy(np.array([part.best()]), part.images.head)[0] for part in parts]
        return (np.array(each),)

    def one(curve: Curve, target: Floats) -> tuple[npt.NDArray, ...]:
        right, offsets, reached = np.empty(count), np.empty(2), np.empty(2)
        for at, judged in enumerate(halves.values()):
            offsets[at], reached[at] = curve[~judged].at_head(target[at])
            right[judged] = curve[judged].right(offsets[at])
        return right, offsets, reached, np.array(curve.slope(target.mean()))

    (targets,) = of_each_model(target_of, selected(outcomes, reference), images, [two])
    targets = targets.assign_coords(judged=list(halves))
    right, offset, reached, slope = of_each_model(
        one, outcomes, images, [{"image": count}, two, two, {}], targets
    )
    reached = reached.fillna(1).astype(bool)  # a seed that is not there keeps none away
    every = reached.all([dim for dim in ("judged", "seed") if dim in reached.dims])
    found = {"offset": offset, "target": 100 * targets, "slope": slope}
    found |= {"reached": reached.all("judged"), "right": right.astype(np.float32).where(every)}
    return xr.Dataset(found, attrs=dict(outcomes.attrs))


def tail_at_equal_head(outcomes: xr.Dataset, reference: Reference = FLOAT) -> xr.DataArray:
    """What each image contributes to the tail accuracy at equal head accuracy, for intervals.

    Its mean over all classes is the tail accuracy (:func:`at_equal_head`, corrected to first order
    for the head accuracy that the model has there more or less than the reference), so that
    ``estimate(x.sel(bits=32) - x, by="norm")`` is the tail lost at equal head, with an interval
    that knows the offset from the images alone (see the module). One image means nothing.

    Args, Raises: as :func:`at_equal_head`, NaN included.
    """
    known = selected(outcomes, reference)
    found = equal_head(outcomes, known)
    ahead = found["right"] - equal_head(known, known)["right"]
    terms = from_groups(outcomes, head=found["slope"] * ahead, tail=found["right"])
    return terms.assign_attrs(outcomes.attrs)


def from_groups(outcomes: xr.Dataset, head: xr.DataArray, tail: xr.DataArray) -> xr.DataArray:
    """Values whose mean over all classes is the mean of ``head`` over the head's classes plus
    the mean of ``tail`` over the tail's."""
    images = images_of(outcomes)
    with np.errstate(invalid="ignore"):
        share = [xr.DataArray(w / images.norm, dims="image") for w in (images.head, images.tail)]
    return share[0] * head + share[1] * tail


def at_best(outcomes: xr.Dataset) -> xr.DataArray:
    """Right (1) or wrong (0) of each image with every model at the best point of its own curve.

    On one half of the images every model takes the offset on its tail logits at which all classes
    together are most accurate; the outcomes are those on the other half. Then the halves swap. At
    equal head accuracy every loss falls on the tail by construction; here head and tail are treated
    alike, so that differences tell which of them loses more beyond a moved operating point.

    **Intervals.** The best point is itself an estimate, and an error of its offset moves accuracy
    from one group to the other. Over all classes that cancels, and with several seeds it is part of
    what differs between them: in simulations 95 % intervals cover 90 % and more with two seeds,
    93 % and more with three. Of one seed, intervals for head, tail or their difference know of the
    images alone and cover 60 % to 87 % (tests/statistics/test_coverage.py).

    Args:
        outcomes: with ``best_head``, ``best_tail`` and ``margin`` of each image.

    Returns:
        float32, dimensions of ``outcomes``, NaN for a seed that was not measured.

    Raises:
        InputError: a variable, a coordinate or a group is missing.
    """
    images, halves = images_of(outcomes), halves_of(outcomes)

    def one(curve: Curve) -> tuple[npt.NDArray]:
        right = np.empty(len(images.labels))
        for judged in halves.values():
            right[judged] = curve[judged].right(curve[~judged].best())
        return (right,)

    (found,) = of_each_model(one, outcomes, images, [{"image": len(images.labels)}])
    return found.astype(np.float32).assign_attrs(outcomes.attrs)


def selected(outcomes: xr.Dataset, reference: Reference) -> xr.Dataset:
    """The reference's outcomes, with no more dimensions than ``outcomes``."""
    if not isinstance(outcomes, xr.Dataset) or "image" not in outcomes.dims:
        raise InputError("outcomes are a Dataset with the dimension image: see evaluate")
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
