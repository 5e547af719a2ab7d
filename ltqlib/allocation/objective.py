"""What an allocation makes small: a weighted sum of means over the worst classes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ltqlib.errors import InputError

Floats = npt.NDArray[np.float64]


def cvar(losses: Floats, fraction: float) -> Floats:
    """Conditional value at risk: the mean of the worst ``fraction`` of losses (classes, ...).

    Rockafellar and Uryasev (2000), where ``fraction`` is ``1 - beta``, for equally weighted losses.
    A share that ends within a class counts part of it; less than one class is the worst class.

    Returns:
        (...), in the unit of the losses.
    """
    share = max(fraction * len(losses), 1.0)
    counted = np.clip(share - np.arange(len(losses)), 0.0, 1.0)
    return np.asarray(np.tensordot(counted, np.sort(losses, axis=0)[::-1], axes=1) / share)


@dataclass(frozen=True)
class Term:
    """``weight`` times the CVaR of some classes; ``fraction`` 1 is their mean, 0 the worst one.

    ``classes`` are places along the axis of classes (labels, where every class is there); empty
    means all.

    Raises:
        InputError: the weight is negative or not finite, the fraction outside [0, 1], or a class
            is named twice.
    """

    weight: float = 1.0
    fraction: float = 1.0
    classes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise InputError(f"the weight of an objective is {self.weight:g}: give 0 or more")
        if not 0 <= self.fraction <= 1:
            raise InputError(
                f"the CVaR of a fraction {self.fraction:g} of the classes: give one from 0 (the "
                "worst class) to 1 (the mean)"
            )
        if len(set(self.classes)) < len(self.classes):
            raise InputError(f"an objective names a class twice: {list(self.classes)}")

    def of(self, losses: Floats) -> Floats:
        """The rows (n, ...) of ``losses`` (classes, ...) that the term looks at."""
        unknown = [label for label in self.classes if not 0 <= label < len(losses)]
        if unknown:
            raise InputError(
                f"an objective names class {unknown[0]}, the losses have classes 0 to "
                f"{len(losses) - 1}"
            )
        return losses[list(self.classes)] if self.classes else losses


@dataclass(frozen=True)
class Objective:
    """A sum of terms; add objectives and multiply them by numbers to mix them.

    Many allocations can have the same worst class: a small share of the mean decides among them,
    as in ``Objective.worst() + 0.01 * Objective.mean()``.

    Raises:
        InputError: there is no term.
    """

    terms: tuple[Term, ...]

    def __post_init__(self) -> None:
        if not self.terms:
            raise InputError("an objective without a term has no value: give at least one")

    @classmethod
    def mean(cls) -> "Objective":
        """The mean over all classes: the overall loss on a balanced set."""
        return cls((Term(),))

    @classmethod
    def group(cls, classes: Sequence[int]) -> "Objective":
        """The mean over the classes of a group, such as the tail.

        Raises:
            InputError: the group is empty.
        """
        if len(classes) == 0:
            raise InputError("a group without a class has no loss: name at least one class")
        return cls((Term(classes=tuple(classes)),))

    @classmethod
    def worst(cls, classes: Sequence[int] = ()) -> "Objective":
        """The largest loss of any class (minimax), or of any of ``classes``."""
        return cls((Term(fraction=0.0, classes=tuple(classes)),))

    @classmethod
    def cvar(cls, fraction: float, classes: Sequence[int] = ()) -> "Objective":
        """The mean of the worst ``fraction`` of all classes, or of ``classes``; :func:`cvar`."""
        return cls((Term(fraction=fraction, classes=tuple(classes)),))

    @classmethod
    def parse(cls, text: str, groups: Mapping[str, Sequence[int]]) -> "Objective":
        """Read ``norm``, ``worst``, ``cvar:0.3``, a group's name, or ``0.7*norm + 0.3*tail``.

        ``norm`` and ``mean`` are the mean over all classes.

        Raises:
            InputError: a word is none of these.
        """
        parts = [_parse_part(cls, part.strip(), groups) for part in text.split("+")]
        return cls(tuple(term for part in parts for term in part.terms))

    def __add__(self, other: "Objective") -> "Objective":
        return Objective(self.terms + other.terms)

    def __rmul__(self, factor: float) -> "Objective":
        return Objective(tuple(replace(t, weight=factor * t.weight) for t in self.terms))

    def value(self, losses: Floats) -> Floats:
        """The objective (...) of losses by class (classes, ...), in their unit."""
        total = np.zeros(losses.shape[1:])
        for term in self.terms:
            total = total + term.weight * cvar(term.of(losses), term.fraction)
        return total


def _parse_part(kind: type[Objective], text: str, groups: Mapping[str, Sequence[int]]) -> Objective:
    before, star, after = text.partition("*")
    word = (after if star else before).strip()
    name, colon, number = word.partition(":")
    try:
        weight = float(before) if star else 1.0
        if name == "cvar" and colon:
            return weight * kind.cvar(float(number))
    except ValueError:
        raise InputError(f"cannot read {text!r} as an objective: write 0.5*cvar:0.3") from None
    if word in ("norm", "mean", "worst"):
        return weight * (kind.worst() if word == "worst" else kind.mean())
    if word in groups:
        return weight * kind.group(groups[word])
    known = ", ".join(["norm", "worst", "cvar:FRACTION", *groups])
    raise InputError(f"unknown objective {word!r}: choose from {known}, or a sum of them")
