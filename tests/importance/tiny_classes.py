"""Twelve images of three classes, two of which are a group."""

import numpy as np

BITS = (8, 4, 2)
LAYERS = ["L1", "L2", "L3"]
CLASSES = {"bird": [0], "cat": [1], "dog": [2]}
GROUPS = {**CLASSES, "pets": [1, 2]}
LABELS = np.array([0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 0, 1])
MEMBERS = [np.flatnonzero(label == LABELS) for label in range(3)]


def with_group(of_classes):
    """Scores of the three classes, and of the group: the mean of its two classes."""
    of_classes = np.asarray(of_classes)
    return np.concatenate([of_classes, of_classes[1:].mean(0, keepdims=True)])
