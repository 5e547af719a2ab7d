"""Groups of classes as weights of images. NumPy only."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from ltqlib.first.errors import InputError

Array = npt.NDArray[np.float64]
Groups = Mapping[str, Sequence[int]]  # name of the group: labels of its classes


def each_class(names: Sequence[str]) -> dict[str, list[int]]:
    """Every class as a group of its own: ``{name: [label]}``."""
    return {name: [label] for label, name in enumerate(names)}


def image_weights(labels: npt.NDArray[np.int64], groups: Groups) -> Array:
    """Weight of each image in the mean of each group, shape (groups, N); rows sum to 1.

    A group's mean is the mean over its classes of the class means, so an image of a class with
    ``n_c`` images in a group of ``k`` classes weighs ``1 / (k * n_c)``.

    Raises:
        InputError: no group, a group without a class, or a class without an image.
    """
    if not groups:
        raise InputError("no group of classes was given: name at least one")
    weights = np.zeros((len(groups), len(labels)))
    for row, (name, members) in zip(weights, groups.items(), strict=True):
        if not members:
            raise InputError(f"group {name!r} has no class: give it one or leave it out")
        for label in members:
            mine = labels == label
            if not mine.any():
                raise InputError(
                    f"class {label} of group {name!r} has no image here: give images of every "
                    "class, or leave the class out"
                )
            row[mine] += 1 / (len(members) * mine.sum())
    return weights
