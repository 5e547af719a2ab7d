"""Accuracy by class and group, intervals, and paired tests. NumPy and SciPy only.

Accuracies and differences are in percent (points). Everything takes predictions and labels, so
that any group, half or test can be computed from a record without data or model.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import stats

from ltqlib.errors import InputError

Array = npt.NDArray
Z95 = 1.959963984540054


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


def paired_difference(
    first: Array, second: Array, labels: Array, members: Sequence[int]
) -> tuple[float, float, float]:
    """Accuracy of ``second`` minus ``first`` on the same images of some classes.

    The mean over classes of the paired per-class difference, with a normal 95 % interval whose
    variance is the sum of the per-class variances of ``correct_2 - correct_1``.

    Args:
        first, second: predictions (N,) of the two models; labels: truth (N,).
        members: the class labels that count.

    Returns:
        (difference, low, high) in points.
    """
    means, variances = [], []
    for label in members:
        mine = labels == label
        step = (second[mine] == label).astype(float) - (first[mine] == label).astype(float)
        means.append(step.mean() if len(step) else np.nan)
        variances.append(_variance_of_mean(step))
    return _mean_of_classes(means, variances)


def difference_of_differences(
    first: Array, second: Array, labels: Array, plus: Sequence[int], minus: Sequence[int]
) -> tuple[float, float, float]:
    """Change of the accuracy of ``plus`` classes beyond the change of the ``minus`` classes.

    The two sets share no image, so the variances add.

    Returns:
        (difference, low, high) in points; below zero: ``plus`` lost more than ``minus``.
    """
    return subtract(
        paired_difference(first, second, labels, plus),
        paired_difference(first, second, labels, minus),
    )


def interaction(
    before: tuple[Array, Array],
    after: tuple[Array, Array],
    labels: Array,
    members: Sequence[int],
) -> tuple[float, float, float]:
    """How much more the second model changed than the first, on the same images.

    Args:
        before: predictions (N,) of models 1 and 2; after: of the same two, changed.
        members: the class labels that count.

    Returns:
        (change of model 2 minus change of model 1, low, high) in points.
    """
    means, variances = [], []
    for label in members:
        mine = labels == label
        change = [
            (new[mine] == label).astype(float) - (old[mine] == label)
            for old, new in zip(before, after, strict=True)
        ]
        step = change[1] - change[0]
        means.append(step.mean() if len(step) else np.nan)
        variances.append(_variance_of_mean(step))
    return _mean_of_classes(means, variances)


def accuracy_interval(
    predictions: Array, labels: Array, members: Sequence[int]
) -> tuple[float, float, float]:
    """Mean accuracy of some classes with its normal 95 % interval: (accuracy, low, high)."""
    each = [(predictions[labels == label] == label).astype(float) for label in members]
    return _mean_of_classes(
        [e.mean() if len(e) else np.nan for e in each], [_variance_of_mean(e) for e in each]
    )


def gap_interval(
    predictions: Array, labels: Array, head: Sequence[int], tail: Sequence[int]
) -> tuple[float, float, float]:
    """Head accuracy minus tail accuracy of one model: (gap, low, high) in points."""
    return subtract(
        accuracy_interval(predictions, labels, head), accuracy_interval(predictions, labels, tail)
    )


def subtract(
    first: tuple[float, float, float], second: tuple[float, float, float]
) -> tuple[float, float, float]:
    """Difference of two independent estimates (value, low, high): their variances add."""
    value = first[0] - second[0]
    spread = float(np.hypot(first[0] - first[1], second[0] - second[1]))
    return value, value - spread, value + spread


def _variance_of_mean(values: Array) -> float:
    """Estimated variance of the mean of ``values`` (N,); infinite for fewer than two."""
    return float(values.var(ddof=1)) / len(values) if len(values) > 1 else float("inf")


def _mean_of_classes(
    means: Sequence[float], variances: Sequence[float]
) -> tuple[float, float, float]:
    """Mean over classes in points, with a 95 % interval from the variances of the class means."""
    if not np.all(np.isfinite(variances)):
        raise InputError("a class has fewer than two test images: no interval can be given for it")
    mean = 100 * float(np.mean(means))
    spread = 100 * Z95 * float(np.sqrt(np.sum(variances))) / len(means)
    return mean, mean - spread, mean + spread


def mcnemar(first: Array, second: Array, labels: Array) -> float:
    """Exact McNemar test: p-value of "both models are right equally often" (McNemar, 1947)."""
    right_1, right_2 = first == labels, second == labels
    gained, lost = int(np.sum(~right_1 & right_2)), int(np.sum(right_1 & ~right_2))
    if gained + lost == 0:
        return 1.0
    return float(stats.binomtest(gained, gained + lost, 0.5).pvalue)


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
