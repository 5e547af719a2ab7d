"""scikit-learn's digits: embedded in the package, for tests and for a page that trains live."""

from typing import Literal

import numpy as np

from ltqlib.data.source import Images, Labels, Source

CLASSES = tuple(str(label) for label in range(10))
FINGERPRINT = "6528bda8a2af1490"
TRAIN, TEST = 120, 50  # images of each class


def digits() -> Source:
    """scikit-learn's 8x8 digits, enlarged to 32x32: 120 to train, 50 to test, of each class."""
    return Source(
        name="digits",
        identity="digits",
        fingerprint=FINGERPRINT,
        note="scikit-learn's digits, 8x8 pixels enlarged to 32x32",
        classes=CLASSES,
        counts=(TRAIN,) * len(CLASSES),
        test_counts=(TEST,) * len(CLASSES),
        read=_read,
    )


def _read(split: Literal["train", "test"]) -> tuple[Images, Labels]:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    small = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    images = np.repeat(np.kron(small, np.ones((1, 4, 4), np.uint8))[..., None], 3, axis=3)
    rows = slice(0, TRAIN) if split == "train" else slice(TRAIN, TRAIN + TEST)
    chosen = np.concatenate([np.flatnonzero(bunch.target == label)[rows] for label in range(10)])
    return images[chosen], bunch.target[chosen].astype(np.int64)
