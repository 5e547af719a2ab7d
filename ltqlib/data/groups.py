"""Groups of classes: head and tail, many / medium / few shot, or the reader's own."""

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ltqlib.config import brief
from ltqlib.errors import InputError

Groups = dict[str, tuple[int, ...]]
HEAD_TAIL, SHOTS = "head-tail", "many-medium-few"
HEAD_SHARE = 0.4  # of the ranks: ranks 0 to 3 of 10, as in the post
REST = "other"  # classes that the reader's groups leave out
RESERVED = ("norm",)  # the row of all classes in every table


def head_and_tail(classes: int, class_order: Sequence[int] = ()) -> Groups:
    """Class labels of the post's groups: head is the first 40 % of the ranks (0-3 of 10)."""
    order = tuple(class_order) or tuple(range(classes))
    cut = round(HEAD_SHARE * classes)
    return {"head": tuple(sorted(order[:cut])), "tail": tuple(sorted(order[cut:]))}


def majority_and_rest(counts: Sequence[int]) -> Groups:
    """Head and tail of counts that nobody made, by training images of each class.

    Head: the most frequent classes that together hold at least half of the training images, as
    few of them as possible (of two equally frequent classes, the one with the lower label).
    """
    order = np.argsort(-np.asarray(counts), kind="stable")
    cut = int((2 * np.cumsum(np.asarray(counts)[order]) < sum(counts)).sum()) + 1
    return {
        "head": tuple(sorted(order[:cut].tolist())),
        "tail": tuple(sorted(order[cut:].tolist())),
    }


def shot_groups(counts: Sequence[int]) -> Groups:
    """Class labels by training images: many (>100), medium (20-100), few (<20) shot.

    The groups of Liu et al. (2019) and Kang et al. (2020). A group without a class is left out.
    """
    groups = {
        "many": tuple(label for label, n in enumerate(counts) if n > 100),
        "medium": tuple(label for label, n in enumerate(counts) if 20 <= n <= 100),
        "few": tuple(label for label, n in enumerate(counts) if n < 20),
    }
    return {name: labels for name, labels in groups.items() if labels}


def own_groups(groups: Mapping[str, Any], classes: Sequence[str]) -> Groups:
    """The reader's groups, ``{"name": [labels or names of classes]}``, checked.

    Classes that they leave out are the group ``other``.
    """
    found: Groups = {}
    seen: dict[int, str] = {}
    for name, members in groups.items():
        if not isinstance(name, str) or not name.strip() or name in RESERVED:
            raise InputError(
                f"a group cannot be called {brief(name)}: use a word other than 'norm'"
            )
        if isinstance(members, str) or not hasattr(members, "__iter__"):
            raise InputError(f"group {name!r} is {brief(members)}: give a list of classes")
        labels = []
        for member in members:
            labels.append(_label(member, classes, name))
            if (twice := labels[-1]) in seen:
                raise InputError(
                    f"class {classes[twice]!r} is in group {seen[twice]!r} and in {name!r}: "
                    "groups must not overlap, and name a class once"
                )
            seen[twice] = name
        if not labels:
            raise InputError(f"group {name!r} has no class: give its labels, or leave it out")
        found[name] = tuple(sorted(labels))
    if rest := tuple(label for label in range(len(classes)) if label not in seen):
        if REST in found:
            raise InputError(f"group {REST!r} is kept for the classes that no group names")
        found[REST] = rest
    return found


def _label(member: Any, classes: Sequence[str], group: str) -> int:
    """The label of a class that is given as a label or by name."""
    if isinstance(member, str) and member in classes:
        return list(classes).index(member)
    try:
        label = -1 if isinstance(member, (str, bool)) else operator.index(member)
    except TypeError:
        label = -1
    if not 0 <= label < len(classes):
        raise InputError(
            f"group {group!r} names {brief(member)}, which is no class: use labels from 0 to "
            f"{len(classes) - 1}, or names such as {classes[0]!r}"
        )
    return label


def make_groups(
    asked: str | Mapping[str, Any],
    classes: Sequence[str],
    counts: Sequence[int],
    *,
    class_order: Sequence[int] = (),
    natural: bool = False,
) -> Groups:
    """The groups that were asked for: ``head-tail``, ``many-medium-few``, or a mapping.

    Args:
        asked: a name or ``{"name": [labels or names of classes]}``.
        classes: names by label.
        counts: training images by label.
        class_order: class_order[rank] = class, of a long tail that was made.
        natural: head and tail follow the counts, not the ranks.

    Raises:
        InputError: another name, or a mapping that makes no sense.
    """
    if isinstance(asked, Mapping) and asked:
        return own_groups(asked, classes)
    if isinstance(asked, str) and asked == HEAD_TAIL:
        return majority_and_rest(counts) if natural else head_and_tail(len(classes), class_order)
    if isinstance(asked, str) and asked == SHOTS:
        return shot_groups(counts)
    raise InputError(
        f"groups {brief(asked)} are unknown: use {HEAD_TAIL!r}, {SHOTS!r} or "
        "{'name': [labels or names of classes]}"
    )
