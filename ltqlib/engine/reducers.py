"""What is kept of the logits, row by row, and how close a row is to another outcome."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy.typing as npt
import torch
from torch import Tensor

from ltqlib.errors import InputError

Reduced = dict[str, npt.NDArray[Any]]


class Reducer(Protocol):
    """Any function of logits; with a ``gap`` as well where bfloat16 may be used."""

    def __call__(self, logits: Tensor) -> Mapping[str, Any]:
        """Arrays (rows, ...) by name, from float32 logits (rows, C)."""
        ...


class Predicted:
    """The class with the largest logit, uint8 (uint16 beyond 256 classes)."""

    def __call__(self, logits: Tensor) -> Reduced:
        """{"predicted": (rows,)} from logits (rows, C)."""
        return {"predicted": _classes(logits.argmax(1), logits.shape[1])}

    def gap(self, logits: Tensor) -> Tensor:
        """By how much the prediction won, (rows,)."""
        return _lead(logits)


def every(logits: Tensor) -> Reduced:
    """The logits themselves, float32 (rows, C)."""
    return {"logits": logits.float().cpu().numpy()}


class Whole:
    """What the head-tail curve needs of a model: the best class of head and tail, and who wins.

    ``predicted`` follows from the others: ``best_tail`` where ``margin > 0``, else ``best_head``.

    Args:
        head, tail: labels.
    """

    def __init__(self, head: Sequence[int], tail: Sequence[int]) -> None:
        self.head, self.tail = torch.tensor(list(head)), torch.tensor(list(tail))

    def __call__(self, logits: Tensor) -> Reduced:
        """predicted, best_head, best_tail (classes) and margin (float32), each (rows,).

        ``margin`` is the best tail logit less the best head logit.
        """
        head, tail = (logits[:, group.to(logits.device)] for group in (self.head, self.tail))
        classes = logits.shape[1]
        margin = tail.amax(1) - head.amax(1)
        best_head = self.head[head.argmax(1).cpu()]
        best_tail = self.tail[tail.argmax(1).cpu()]
        return {
            "predicted": _classes(torch.where(margin.cpu() > 0, best_tail, best_head), classes),
            "best_head": _classes(best_head, classes),
            "best_tail": _classes(best_tail, classes),
            "margin": margin.float().cpu().numpy(),
        }

    def gap(self, logits: Tensor) -> Tensor:
        """By how much the closest of the three comparisons was won, (rows,)."""
        head, tail = (logits[:, group.to(logits.device)] for group in (self.head, self.tail))
        between = (tail.amax(1) - head.amax(1)).abs()
        return torch.minimum(between, torch.minimum(_lead(head), _lead(tail)))


predicted = Predicted()


def whole(groups: Mapping[str, Sequence[int]]) -> Whole:
    """Keeps ``predicted``, ``best_head``, ``best_tail`` and ``margin`` of each row.

    Args:
        groups: labels by name; ``head`` and ``tail``, or the first group is the head and all other
            groups together are the tail.

    Raises:
        InputError: a group is empty, or they share a class.
    """
    names = list(groups)
    head_name = "head" if "head" in groups else names[0] if names else ""
    head = list(groups.get(head_name, ()))
    others = ["tail"] if "tail" in groups else [name for name in names if name != head_name]
    tail = [label for name in others for label in groups[name]]
    if not head or not tail or len({*head, *tail}) != len(head) + len(tail):
        raise InputError(f"groups {dict(groups)} are no head and tail: give each its own classes")
    return Whole(head, tail)


def _lead(logits: Tensor) -> Tensor:
    """Largest less second largest, (rows,); infinite where there is but one."""
    if logits.shape[1] < 2:
        return torch.full((len(logits),), torch.inf, device=logits.device)
    best = logits.topk(2).values
    return best[:, 0] - best[:, 1]


def _classes(labels: Tensor, classes: int) -> npt.NDArray[Any]:
    found = labels.cpu().numpy()
    return found.astype("uint8" if classes <= 256 else "uint16")
