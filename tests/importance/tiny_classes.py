"""Twelve images of three classes."""

import numpy as np

BITS = (8, 4, 2)
LAYERS = ["L1", "L2", "L3"]
LABELS = np.array([0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 0, 1])
MEMBERS = [np.flatnonzero(label == LABELS) for label in range(3)]
