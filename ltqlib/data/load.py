"""``load_data``: a long-tailed training set and its test images, from any of the sources."""

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np

from ltqlib.config import NATURAL, brief, check_imbalance_factor, factor_label
from ltqlib.data.cifar10 import cifar10
from ltqlib.data.digits import digits
from ltqlib.data.folder import folder
from ltqlib.data.groups import HEAD_TAIL, Groups, make_groups
from ltqlib.data.heldout import held_out, sizes_of
from ltqlib.data.longtail import CLASS_ORDERS, Indices, long_tailed_counts, nested_subset
from ltqlib.data.source import SIZE, Images, Labels, Source
from ltqlib.data.split import Split
from ltqlib.errors import InputError


@dataclass(frozen=True, eq=False)
class LongTail:
    """Long-tailed training images and the test images that go with them.

    Counts, classes and groups are known at once; images are read on first use. ``class_order``
    says which class has which rank (empty: label order), so that rarity can be told apart from
    difficulty; subsets of smaller imbalance factors are contained in those of larger ones.
    """

    source: str  #: as it was asked for (``cifar10``, ``digits``, ``folder:PATH``)
    imbalance_factor: float | Literal["natural"]  #: n_min / n_max, or the data's own counts
    class_order: tuple[int, ...]  #: class_order[rank] = class
    counts: tuple[int, ...]  #: training images by label
    groups: Groups  #: labels of each group of classes
    full: Source = field(repr=False)  #: what the long tail is cut from

    @property
    def name(self) -> str:
        """``cifar10``, ``digits`` or the folder's name, for people."""
        return self.full.name

    @property
    def identity(self) -> str:
        """What goes into a configuration, such as ``cifar10`` or ``folder:<fingerprint>``."""
        return self.full.identity

    @property
    def fingerprint(self) -> str:
        """SHA-256 (16 digits) of the full source's pixels and labels."""
        return self.full.fingerprint

    @property
    def classes(self) -> tuple[str, ...]:
        """Names by label."""
        return self.full.classes

    @property
    def note(self) -> str:
        """What the images are, how they were verified, and what was done to them."""
        return self.full.note

    @property
    def configuration(self) -> dict[str, Any]:
        """The fields of a :class:`ltqlib.config.RunConfig` that these data decide."""
        return {
            "data": self.identity,
            "imbalance_factor": self.imbalance_factor,
            "class_order": self.class_order,
        }

    @cached_property
    def indices(self) -> Indices:
        """Positions in the full training set, sorted, int64 (N,)."""
        return nested_subset(self.full.train[1], self.counts)

    @cached_property
    def images(self) -> Images:
        """Training images, uint8 (N, H, W, 3), read on first use."""
        everything = self.full.train[0]
        return everything if self.counts == self.full.counts else everything[self.indices]

    @cached_property
    def labels(self) -> Labels:
        """Training labels, int64 (N,), read on first use."""
        return self.full.train[1][self.indices]

    @cached_property
    def test(self) -> Split:
        """The test images; balanced where the source's are."""
        return Split(
            name="test",
            identity=f"{self.identity}/test",
            classes=self.classes,
            sizes=self.full.test_counts,
            counts=self.counts,
            groups=self.groups,
            read=lambda: self.full.test,
            note=self.note,
        )

    def held_out(self, share: float) -> Split:
        """Training images that networks with ``holdout=share`` do not see: to choose by.

        As long-tailed as the training set: ``round(share * n_c)`` images of each class, the same
        for every recipe and seed. ``counts`` are of the images left to train on.

        Raises:
            InputError: nothing is held out, or a class has nothing left to train on.
        """
        if not 0 < share < 1:
            raise InputError(f"holdout {brief(share)} keeps no image: use a share such as 0.2")
        sizes = sizes_of(self.counts, share)
        told = "-".join(map(str, self.counts))

        def read() -> tuple[Images, Labels]:
            chosen = held_out(self.labels, share)
            return self.images[chosen], self.labels[chosen]

        return Split(
            name="held out",
            identity=f"{self.identity}/held-out-{share:g}-of-{told}",
            classes=self.classes,
            sizes=sizes,
            counts=tuple(n - held for n, held in zip(self.counts, sizes, strict=True)),
            groups=self.groups,
            read=read,
            note=self.note,
        )

    def __repr__(self) -> str:
        order = f", class order {self.class_order}" if self.class_order else ""
        groups = ", ".join(f"{name} {len(labels)}" for name, labels in self.groups.items())
        return (
            f"LongTail({self.name!r}, {factor_label(self.imbalance_factor)}{order}: "
            f"{sum(self.counts):,} training images of {len(self.classes)} classes "
            f"({max(self.counts):,} to {min(self.counts):,}); {groups})"
        )


def load_data(
    source: str = "cifar10",
    imbalance_factor: float | Literal["natural"] = 1.0,
    class_order: Sequence[int] | str = (),
    groups: str | Mapping[str, Any] = HEAD_TAIL,
    *,
    size: int = SIZE,
) -> LongTail:
    """A long-tailed training set with its test images.

    Nothing is read of CIFAR-10 and the digits before their images are asked for; a folder is
    decoded (once: decoded images are kept), since its identity is what it contains.

    Args:
        source: ``cifar10``, ``digits``, or ``folder:PATH`` for any image folder with
            ``train/<class>/*`` and ``test/<class>/*``; a relative path lies below the project's
            folder (``LTQ_HOME``).
        imbalance_factor: n_min / n_max in (0, 1], of counts ``n_max * IF**(rank / (C - 1))`` with
            the smallest class as n_max (Cao et al., 2019); or ``"natural"``: the data as they are.
        class_order: class_order[rank] = class, or the name of one: ``"label"`` (as are no labels),
            ``"reversed"``, ``"random-1"`` or ``"random-2"``, of ten classes each.
        groups: ``"head-tail"`` (head: the first 40 % of the ranks; of natural counts: the most
            frequent classes that together hold at least half of the training images),
            ``"many-medium-few"`` (more than 100, 20 to 100, fewer than 20 training images), or
            ``{"name": [labels or names of classes]}``.
        size: pixels of a side to which a folder's images are resized.

    Raises:
        InputError: an argument that makes no sense, data that are missing or damaged, an image
            that does not decode, a class without images.
    """
    check_imbalance_factor(imbalance_factor)
    full = _open(source, size)
    natural = isinstance(imbalance_factor, str)
    order = _check_order(class_order, len(full.classes), natural)
    factor = NATURAL if isinstance(imbalance_factor, str) else float(imbalance_factor)
    counts = _counts(full, factor, order)
    named = make_groups(groups, full.classes, counts, class_order=order, natural=natural)
    return LongTail(source, factor, order, counts, named, full)


def _counts(
    full: Source, factor: float | Literal["natural"], order: tuple[int, ...]
) -> tuple[int, ...]:
    """Training images of each class; the smallest class is the most that every class can give."""
    if isinstance(factor, str):
        return full.counts
    return long_tailed_counts(min(full.counts), len(full.classes), factor, order)


def _open(source: str, size: int) -> Source:
    """The full data set of ``source``."""
    if not isinstance(source, str):
        raise InputError(
            f"data source {brief(source)} is no text: use cifar10, digits or folder:PATH"
        )
    place = source.removeprefix("folder:")
    if place not in ("", source):
        return folder(place, size)
    if source not in ("cifar10", "digits"):
        raise InputError(
            f"data source {brief(source)} is unknown: use cifar10, digits or folder:PATH"
        )
    if size != SIZE:
        raise InputError(
            f"size {brief(size)}: {source} has {SIZE} pixels a side, only folders resize"
        )
    return cifar10() if source == "cifar10" else digits()


def _check_order(class_order: Sequence[int] | str, classes: int, natural: bool) -> tuple[int, ...]:
    """``class_order`` as a tuple of int, refused where it is no permutation of the labels."""
    if isinstance(class_order, str) and class_order in CLASS_ORDERS:
        class_order = CLASS_ORDERS[class_order]
    listed = hasattr(class_order, "__getitem__") and hasattr(class_order, "__len__")
    if not listed or isinstance(class_order, (str, bytes, Mapping)):
        names = ", ".join(CLASS_ORDERS)
        raise InputError(
            f"class_order {brief(class_order)} is no list of labels and none of {names}"
        )
    if len(class_order) == 0:
        return ()
    if natural:
        raise InputError(
            f"class_order {brief(class_order)} with imbalance_factor 'natural': the data's own "
            "counts rank the classes; leave class_order out"
        )
    if len(class_order) != classes:
        raise InputError(f"class_order names {len(class_order)} classes, the data has {classes}")
    try:
        order = tuple(operator.index(label) for label in class_order)
    except TypeError:
        order = ()
    if not order or any(isinstance(label, (bool, np.bool_)) for label in class_order):
        raise InputError(f"class_order {brief(class_order)} is no list of labels")
    if sorted(order) != list(range(classes)):
        raise InputError(f"class_order {brief(order)} is not a permutation: list every class once")
    return order
