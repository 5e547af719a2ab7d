"""A full data set: what is known of it, and its images, read on first use."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.uint8]  # (N, H, W, 3)
Labels = npt.NDArray[np.int64]  # (N,)
SIZE = 32  # pixels of an image's side: what the networks are made for


def fingerprint(*arrays: npt.NDArray) -> str:
    """SHA-256 (16 digits) over shapes, pixels and labels: which images exactly."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(repr((array.dtype.str, array.shape)).encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class Source:
    """A classification data set before a long tail is cut from it.

    ``identity`` says what it contains and goes into a configuration; ``counts`` and
    ``test_counts`` are the images of each class, by label.
    """

    name: str  # for people
    identity: str  # "cifar10", "digits" or "folder:<fingerprint>"
    fingerprint: str  # of training images, training labels, test images and test labels
    note: str  # what the images are and what was done to them
    classes: tuple[str, ...]
    counts: tuple[int, ...]
    test_counts: tuple[int, ...]
    read: Callable[[Literal["train", "test"]], tuple[Images, Labels]] = field(repr=False)

    @cached_property
    def train(self) -> tuple[Images, Labels]:
        """All training images, uint8 (N, H, W, 3), and their labels, int64 (N,)."""
        return self.read("train")

    @cached_property
    def test(self) -> tuple[Images, Labels]:
        """All test images, uint8 (N, H, W, 3), and their labels, int64 (N,)."""
        return self.read("test")
