"""Where results are kept: logits are reduced, many rows at once, and put where they belong."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ltqlib.engine.reducers import Reducer
from ltqlib.engine.tree import Ints

MERGED = 4096  # rows of logits that are reduced together

Found = dict[str, npt.NDArray[Any]]
Gaps = npt.NDArray[np.float32]


class Store:
    """Results of configurations and images.

    Args:
        shape: (configurations, images).
        reduce: what is kept of logits (rows, C).
    """

    def __init__(self, shape: tuple[int, int], reduce: Reducer) -> None:
        self.shape, self.reduce = shape, reduce
        self.found: Found = {}
        self.close = np.zeros(shape, dtype=bool)  # closer than the threshold, where there is one
        self.threshold: Gaps | None = None  # (configurations,)
        self._waiting: list[tuple[Ints, Ints, Tensor]] = []
        self._rows = 0

    def add(self, configuration: Ints, image: Ints, logits: Tensor) -> None:
        """Logits of some rows, which wait for more."""
        self._waiting.append((configuration, image, logits))
        self._rows += len(image)
        if self._rows >= MERGED:
            self.flush()

    def flush(self) -> None:
        """Reduce what waits."""
        if not self._waiting:
            return
        configurations, images, parts = zip(*self._waiting, strict=True)
        at = np.concatenate(configurations), np.concatenate(images)
        logits = torch.cat(parts)
        self._waiting, self._rows = [], 0
        for name, values in self.reduce(logits).items():
            array = as_array(values)
            if name not in self.found:
                self.found[name] = np.zeros((*self.shape, *array.shape[1:]), array.dtype)
            self.found[name][at] = array
        if self.threshold is not None:  # written so that a gap that is no number is close too
            self.close[at] = ~(self.gap(logits) > self.threshold[at[0]])

    def gap(self, logits: Tensor) -> Gaps:
        """How close rows are to another outcome, as the reducer has it, (rows,)."""
        return np.asarray(self.reduce.gap(logits).cpu().numpy(), np.float32)  # type: ignore[attr-defined]

    def results(self, classes: int) -> Found:
        """All that was found; zeros where nothing was computed."""
        self.flush()
        if not self.found:
            for name, values in self.reduce(torch.zeros(1, classes)).items():
                array = as_array(values)
                self.found[name] = np.zeros((*self.shape, *array.shape[1:]), array.dtype)
        return self.found


def as_array(values: Any) -> npt.NDArray[Any]:
    """A tensor or array as an array."""
    return values.cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
