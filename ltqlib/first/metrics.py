"""Accuracy by class and group, several tests at once, ranks. NumPy and SciPy only.

Accuracies are in percent (points). Everything takes predictions and labels, so that any group or
half can be computed from a record without data or model. Intervals are in ``crossed``.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import stats

Array = npt.NDArray


def per_class_accuracy(predictions: Array, labels: Array, classes: int) -> npt.NDArray[np.float64]:
    """Accuracy of each class in percent, shape (classes,); NaN for a class without an image."""
    correct = np.bincount(labels[predictions == labels], minlength=classes)
    total = np.bincount(labels, minlength=classes)
    with np.errstate(invalid="ignore"):
        return 100.0 * correct / np.where(total == 0, np.nan, total)


def group_accuracy(
    predictions: Array, labels: Array, groups: dict[str, list[int]]
) -> dict[str, float]:
    """Mean of the per-class accuracies of each group, in percent (an empty group is NaN)."""
    classes = 1 + max(int(labels.max()), *(label for m in groups.values() for label in m))
    each = per_class_accuracy(predictions, labels, classes)
    return {
        name: float(each[members].mean()) if members else float("nan")
        for name, members in groups.items()
    }


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for testing all of them (Holm, 1979), in the given order."""
    order = np.argsort(p_values)
    adjusted, running = np.empty(len(p_values)), 0.0
    for position, index in enumerate(order):
        running = max(running, (len(p_values) - position) * p_values[index])
        adjusted[index] = min(1.0, running)
    return [float(p) for p in adjusted]


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman rank correlation of two rankings or score lists; NaN if one is constant."""
    if len(set(first)) < 2 or len(set(second)) < 2:
        return float("nan")
    return float(stats.spearmanr(first, second).statistic)
