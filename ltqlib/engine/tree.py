"""Bit configurations as the leaves of a tree: what begins alike is computed once.

Sorted by the widths of their layers in order of execution, configurations share a prefix with
their neighbours; the distinct prefixes of each length are the branches at that depth.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ltqlib.errors import InputError

FLOAT = 32  # the width of a layer that is left as it is

Ints = npt.NDArray[np.int64]


class Tree:
    """Distinct bit configurations, sorted, and their branches.

    Args:
        widths: (K, layers), whole numbers; 0 and 32 are float.
        layers: how many layers there are.

    Raises:
        InputError: widths of another shape, or none.
    """

    def __init__(self, widths: npt.ArrayLike, layers: int) -> None:
        given = np.asarray(widths, dtype=np.int64)
        if given.ndim != 2 or given.shape[1] != layers or not len(given):
            raise InputError(
                f"bit configurations have shape {given.shape}: give one row or more of {layers} "
                f"widths, one a layer"
            )
        given = np.where(given == 0, FLOAT, given)
        self.rows, back = np.unique(given, axis=0, return_inverse=True)
        self.back: Ints = back.reshape(-1)  # where each given configuration is among ``rows``

    def __len__(self) -> int:
        return len(self.rows)

    def firsts(self, depth: int) -> Ints:
        """The first configuration of each branch after ``depth`` layers, and ``len(self)``."""
        changed = (self.rows[1:, :depth] != self.rows[:-1, :depth]).any(1)
        return np.concatenate([[0], np.flatnonzero(changed) + 1, [len(self)]])

    def fork(self, column: int, depth: int) -> "Fork":
        """Where branches after ``depth`` layers go at a site of layer ``column``."""
        before, firsts = self.firsts(depth)[:-1], self.firsts(max(depth, column + 1))
        after = firsts[:-1]
        parents = np.searchsorted(before, after, side="right") - 1
        widths = self.rows[after, column]
        ways = []
        for width in np.unique(widths).tolist():
            table = np.full(len(before), -1)
            taken = np.flatnonzero(widths == width)
            table[parents[taken]] = taken
            ways.append((width, table))
        ways.sort(key=lambda way: (way[0] == FLOAT, way[0]))
        return Fork(ways, np.bincount(parents, minlength=len(before)), firsts)


@dataclass
class Fork:
    """How branches part at a site of a layer.

    Args:
        ways: (width, table) for each width that is needed, float last; ``table[branch]`` is the
            branch behind the site, or -1 where a branch does not take this width.
        children: how many branches come out of each, (branches,).
        firsts: the first configuration of each branch behind the site, and the number of all.
    """

    ways: list[tuple[int, Ints]]
    children: Ints
    firsts: Ints
