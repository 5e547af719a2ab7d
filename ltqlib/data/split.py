"""Test images, or a half of them, with everything that an evaluation has to know."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from ltqlib.config import brief
from ltqlib.data.groups import Groups, make_groups
from ltqlib.data.halves import HALVES, half_mask
from ltqlib.data.source import Images, Labels, fingerprint
from ltqlib.errors import InputError


@dataclass(frozen=True, eq=False)
class Split:
    """Images to judge models on; what is known of them is there before an image is read."""

    name: str  #: "test", or the reader's word
    identity: str  #: what it contains (``cifar10/test``, ``images:<fingerprint>/judge``)
    classes: tuple[str, ...]  #: names by label
    sizes: tuple[int, ...]  #: images of each class in this split
    counts: tuple[int, ...]  #: training images of each class; empty where they are not known
    groups: Groups  #: labels of each group of classes
    read: Callable[[], tuple[Images, Labels]] = field(repr=False)
    half: str | None = None  #: None, "choose" or "judge"
    note: str = ""

    @classmethod
    def of(
        cls,
        images: npt.ArrayLike,
        labels: npt.ArrayLike,
        classes: Sequence[str] = (),
        *,
        counts: Sequence[int] = (),
        groups: str | Mapping[str, Any] | None = None,
        name: str = "test",
    ) -> "Split":
        """The reader's own images as a split.

        Args:
            images: uint8 (N, H, W, 3), or (N, H, W) in grey.
            labels: whole numbers (N,), from 0 to C - 1.
            classes: C names, different from one another; the labels themselves where left out.
            counts: training images of each class.
            groups: as in :func:`ltqlib.load_data`; head and tail follow ``counts``. Where left
                out: head and tail if there are counts, else no groups.
            name: a word for tables.

        Raises:
            InputError: arrays of other types or shapes, labels that have no class, groups that
                need counts.
        """
        pixels, numbers = _check_images(images), _check_labels(labels)
        if len(pixels) != len(numbers):
            raise InputError(f"{len(pixels)} images have {len(numbers)} labels: give one an image")
        names = _check_classes(classes, int(numbers.max()) + 1)
        known = _check_counts(counts, len(names))
        return cls(
            name=name,
            identity=f"images:{fingerprint(pixels, numbers)}",
            classes=names,
            sizes=tuple(np.bincount(numbers, minlength=len(names)).tolist()),
            counts=known,
            groups=_groups_of(groups, names, known),
            read=lambda: (pixels, numbers),
            note="the reader's own images",
        )

    def __len__(self) -> int:
        return sum(self.sizes)

    def __repr__(self) -> str:
        half = f", half {self.half!r}" if self.half else ""
        return f"Split({self.name!r}{half}: {len(self):,} images of {len(self.classes)} classes)"

    @cached_property
    def _arrays(self) -> tuple[Images, Labels]:
        return self.read()

    @property
    def images(self) -> Images:
        """Images, uint8 (N, H, W, 3), read on first use."""
        return self._arrays[0]

    @property
    def labels(self) -> Labels:
        """Labels, int64 (N,), read on first use."""
        return self._arrays[1]

    @property
    def group_of_class(self) -> tuple[str, ...]:
        """The name of each class's group, by label; empty text where it has none."""
        names = {label: name for name, labels in self.groups.items() for label in labels}
        return tuple(names.get(label, "") for label in range(len(self.classes)))

    @property
    def group_of_image(self) -> npt.NDArray[np.str_]:
        """The name of each image's group (N,)."""
        return np.array(self.group_of_class)[self.labels]

    def halves(self) -> tuple["Split", "Split"]:
        """The halves ``choose`` and ``judge``: stratified, and the same for every model.

        Raises:
            InputError: this is a half already, or no class has two images.
        """
        if self.half is not None:
            raise InputError(f"{self!r} is a half already: halve the whole split")
        if max(self.sizes) < 2:
            raise InputError(f"{self!r} cannot be halved: no class has two images")
        choose, judge = HALVES
        return self._half(choose, [n // 2 for n in self.sizes]), self._half(
            judge, [n - n // 2 for n in self.sizes]
        )

    def _half(self, half: str, sizes: Sequence[int]) -> "Split":
        def read() -> tuple[Images, Labels]:
            chosen = half_mask(self.labels) == (half == HALVES[0])
            return self.images[chosen], self.labels[chosen]

        identity = f"{self.identity}/{half}"
        return dataclasses.replace(
            self, half=half, sizes=tuple(sizes), identity=identity, read=read
        )


def _check_images(images: npt.ArrayLike) -> Images:
    try:
        pixels = np.asarray(images)
    except (ValueError, TypeError, RuntimeError) as error:  # ragged lists, tensors on a device
        raise InputError(
            f"images are no array ({str(error).splitlines()[0]}): give uint8 (N, H, W, 3)"
        ) from error
    if pixels.dtype != np.uint8:
        raise InputError(f"images are {pixels.dtype}: give uint8 from 0 to 255, (N, H, W, 3)")
    if pixels.ndim == 3:
        pixels = np.repeat(pixels[..., None], 3, axis=3)
    if pixels.ndim != 4 or pixels.shape[3] != 3 or 0 in pixels.shape:
        channels_first = pixels.ndim == 4 and pixels.shape[1] == 3
        hint = "; images.permute(0, 2, 3, 1) moves the channels to the end" * channels_first
        raise InputError(f"images have shape {pixels.shape}: give (N, H, W, 3){hint}")
    return pixels


def _check_labels(labels: npt.ArrayLike) -> Labels:
    try:
        numbers = np.asarray(labels)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"labels are no array ({str(error).splitlines()[0]})") from error
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu" or numbers.size == 0:
        raise InputError(
            f"labels are {numbers.dtype} of shape {numbers.shape}: give whole numbers (N,)"
        )
    low, high = int(numbers.min()), int(numbers.max())
    if low < 0 or high >= 2**16:
        raise InputError(f"labels go from {low} to {high}: give 0 to the number of classes - 1")
    return numbers.astype(np.int64)


def _check_classes(classes: Sequence[str], least: int) -> tuple[str, ...]:
    names = tuple(str(label) for label in range(max(least, 2))) if not len(classes) else classes
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise InputError(f"classes {brief(classes)} are no list of names")
    if len(set(names)) != len(names) or len(names) < 2:
        raise InputError(f"classes {brief(names)}: give at least two names, all different")
    if len(names) < least:
        raise InputError(f"label {least - 1} has no class: {len(names)} classes are named")
    return tuple(names)


def _check_counts(counts: Sequence[int], classes: int) -> tuple[int, ...]:
    array = np.asarray(counts)
    if array.size == 0:
        return ()
    if array.shape != (classes,) or array.dtype.kind not in "iu" or array.min() < 1:
        raise InputError(
            f"counts {brief(counts)}: give the training images of each of the {classes} classes"
        )
    return tuple(array.tolist())


def _groups_of(
    groups: str | Mapping[str, Any] | None, classes: tuple[str, ...], counts: tuple[int, ...]
) -> Groups:
    if groups is None:
        return make_groups("head-tail", classes, counts, natural=True) if counts else {}
    if isinstance(groups, str) and not counts:
        raise InputError(f"groups {brief(groups)} follow the training images: give counts as well")
    return make_groups(groups, classes, counts, natural=True)
