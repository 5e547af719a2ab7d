"""The training images that are trained on: all of them, or those that are not held out."""

from dataclasses import dataclass

import numpy as np

from ltqlib.data import Images, Labels, LongTail
from ltqlib.data.heldout import held_out


@dataclass(frozen=True)
class Part:
    """Images (N, H, W, 3) and labels (N,) of a part of the training set, and counts by class."""

    images: Images
    labels: Labels
    counts: tuple[int, ...]


def training_part(data: LongTail, share: float) -> Part:
    """What networks are trained on where a ``share`` of each class is held out."""
    chosen = ~held_out(data.labels, share) if share else slice(None)
    labels = data.labels[chosen]
    counts = np.bincount(labels, minlength=len(data.classes))
    return Part(data.images[chosen], labels, tuple(map(int, counts)))
