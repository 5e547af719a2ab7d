"""Training images that no training sees: what recipes are chosen by, never the test images."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ltqlib.data import Images, Labels, LongTail, Split
from ltqlib.errors import InputError

SEED = 20_261  # of the draw, which is the same for every run


@dataclass(frozen=True)
class Part:
    """Images (N, H, W, 3) and labels (N,) of a part of the training set, and counts by class."""

    images: Images
    labels: Labels
    counts: tuple[int, ...]


def training_part(data: LongTail, share: float) -> Part:
    """What networks are trained on: all images, or those that are not held out."""
    return _part(data, ~held_out(data.labels, share)) if share else _part(data, slice(None))


def holdout_split(data: LongTail, share: float) -> Split:
    """The images held out, as long-tailed as the training set, to evaluate models on.

    Its ``counts`` are of the images that are left to train on.

    Raises:
        InputError: nothing is held out, or a class has nothing left to train on.
    """
    if not share:
        raise InputError("holdout 0 keeps no image: use a share such as 0.1")
    part, rest = _part(data, held_out(data.labels, share)), training_part(data, share)
    return Split.of(
        part.images,
        part.labels,
        data.classes,
        counts=rest.counts,
        groups=data.groups,
        name="holdout",
    )


def held_out(labels: Labels, share: float) -> npt.NDArray[np.bool_]:
    """True for the images held out: ``round(share * n_c)`` of each class, at least one.

    Stratified and fixed: the draw depends on the labels and the share alone, so every recipe and
    seed is trained and judged on the same images.
    """
    mask = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels) if share else ():
        members = np.flatnonzero(labels == label)
        count = max(1, round(share * len(members)))
        if count >= len(members):
            raise InputError(
                f"holdout {share:g} leaves class {label} with {len(members)} image(s) without one "
                "to train on: use a smaller share or a larger imbalance_factor"
            )
        drawn = np.random.default_rng([SEED, int(label)]).permutation(members)
        mask[drawn[:count]] = True
    return mask


def _part(data: LongTail, chosen: npt.NDArray[np.bool_] | slice) -> Part:
    labels = data.labels[chosen]
    counts = np.bincount(labels, minlength=len(data.classes))
    return Part(data.images[chosen], labels, tuple(map(int, counts)))
