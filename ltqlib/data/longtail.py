"""Long tails: exponential class counts, class orders, nested subsets."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ltqlib.errors import InputError

Indices = npt.NDArray[np.int64]

# Class orders of the control for class identity: ORDER[rank] = class. The two random ones were
# drawn once (`numpy.random.default_rng(k).permutation(10)`, k = 1, 2) and are kept as they are.
CLASS_ORDERS: dict[str, tuple[int, ...]] = {
    "label": (),
    "reversed": (9, 8, 7, 6, 5, 4, 3, 2, 1, 0),
    "random-1": (8, 4, 7, 0, 1, 2, 5, 9, 6, 3),
    "random-2": (2, 0, 7, 6, 9, 5, 3, 4, 8, 1),
}


def long_tailed_counts(
    n_max: int, classes: int, imbalance_factor: float, class_order: Sequence[int] = ()
) -> tuple[int, ...]:
    """Training images of each class, ``n_c = int(n_max * IF ** (rank_c / (C - 1)))``.

    The exponential profile of LDAM-DRW (Cao et al., 2019), with the same rounding.

    Args:
        n_max: images of the most frequent class.
        classes: number of classes C, at least 2.
        imbalance_factor: n_min / n_max in (0, 1].
        class_order: class_order[rank] = class; empty means label order.

    Returns:
        counts by class label (not by rank).

    Raises:
        InputError: the order is not of these classes, or the rarest class would have no image.
    """
    order = tuple(class_order) or tuple(range(classes))
    if len(order) != classes:
        raise InputError(f"class_order names {len(order)} classes, the data has {classes}")
    counts = [0] * classes
    for rank, label in enumerate(order):
        counts[label] = int(n_max * imbalance_factor ** (rank / (classes - 1)))
    if min(counts) < 1:
        raise InputError(
            f"imbalance_factor {imbalance_factor:g} leaves the rarest class without an image: "
            f"with {n_max} images in the largest class use at least {1 / n_max:.2g}"
        )
    return tuple(counts)


def nested_subset(labels: npt.NDArray[np.integer], counts: Sequence[int], seed: int = 0) -> Indices:
    """Indices of a subset with ``counts[c]`` images of class c, sorted.

    Each class is shuffled once with ``seed``, whatever the counts, and a prefix is kept: the
    subset of a smaller imbalance factor is contained in that of a larger one.

    Raises:
        InputError: a class has fewer images than asked for.
    """
    chosen = []
    for label, count in enumerate(counts):
        members = np.flatnonzero(labels == label)
        if len(members) < count:
            raise InputError(f"class {label} has {len(members)} images, {count} are needed")
        shuffled = np.random.default_rng([seed, label]).permutation(members)
        chosen.append(shuffled[:count])
    return np.sort(np.concatenate(chosen))
