"""Training images that no training sees: what recipes are chosen by, never the test images."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ltqlib.data.source import Labels
from ltqlib.errors import InputError

SEED = 20_261  # of the draw, which is the same for every run


def held_out(labels: Labels, share: float) -> npt.NDArray[np.bool_]:
    """True for the images held out: ``round(share * n_c)`` of each class, at least one.

    Stratified and fixed: the draw depends on the labels and the share alone, so every recipe and
    seed is trained and judged on the same images.

    Raises:
        InputError: a class has nothing left to train on.
    """
    mask = np.zeros(len(labels), dtype=bool)
    if not share:
        return mask
    for label, count in enumerate(sizes_of(np.bincount(labels).tolist(), share)):
        members = np.flatnonzero(labels == label)
        drawn = np.random.default_rng([SEED, label]).permutation(members)
        mask[drawn[:count]] = True
    return mask


def sizes_of(counts: Sequence[int], share: float) -> tuple[int, ...]:
    """Images held out of each class with so many.

    Raises:
        InputError: a class has nothing left to train on.
    """
    sizes = tuple(max(1, round(share * count)) if count else 0 for count in counts)
    for label, (size, count) in enumerate(zip(sizes, counts, strict=True)):
        if 0 < count <= size:
            raise InputError(
                f"holdout {share:g} leaves class {label} with {count} image(s) without one "
                "to train on: use a smaller share or a larger imbalance_factor"
            )
    return sizes
