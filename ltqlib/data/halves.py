"""The two fixed halves of a set of test images.

What is chosen by accuracy (a bit configuration, an offset) is chosen on one half, ``choose``, and
judged on the other, ``judge``, so that no number is reported on the images that selected it.
"""

import numpy as np
import numpy.typing as npt

HALVES = ("choose", "judge")


def half_mask(labels: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
    """True for the ``choose`` half of test images with ``labels`` (N,), False for ``judge``.

    Stratified and fixed: of each class a random half (rounded down, the same for every model)
    belongs to ``choose``; a class with a single image is judged only.
    """
    mask = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        shuffled = np.random.default_rng([20_260, int(label)]).permutation(members)
        mask[shuffled[: len(members) // 2]] = True
    return mask
