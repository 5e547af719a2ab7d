"""Rows: pairs of a branch and an image, with the values that live on, in chunks."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor, fx

from ltqlib.models.probe import Value

Ints = npt.NDArray[np.int64]


@dataclass
class Chunk:
    """Some rows; ``values`` may hold a few more, which are not looked at."""

    branch: Ints  # (rows,)
    image: Ints  # (rows,), position in the batch
    values: dict[fx.Node, Tensor]
    held: int  # rows in ``values``
    left: int = 0  # how many variants of the next layer still read it

    def __len__(self) -> int:
        return len(self.branch)

    def release(self) -> None:
        """One variant less to read it; the last frees the values."""
        self.left -= 1
        if self.left == 0:
            self.values.clear()


@dataclass
class Part:
    """Some rows of a chunk and the branches that they go to."""

    chunk: Chunk
    rows: Any  # positions, or a slice
    branch: Ints
    image: Ints
    last: bool = True  # of the parts that go through one variant

    def __len__(self) -> int:
        return len(self.branch)

    def split(self, size: int) -> Iterator["Part"]:
        """Equal pieces of at most ``size`` rows."""
        count = -(-len(self) // size)
        step = -(-len(self) // count)
        for start in range(0, len(self), step):
            cut = slice(start, min(start + step, len(self)))
            rows = cut if isinstance(self.rows, slice) else self.rows[cut]
            last = self.last and cut.stop == len(self)
            yield Part(self.chunk, rows, self.branch[cut], self.image[cut], last)


def rounded(count: int) -> int:
    """``count`` or a little more: a whole number with three significant bits.

    Every number of rows is a program of its own to oneDNN, and hundreds of them fill its caches.
    """
    unit = 1 << max(0, count.bit_length() - 3)
    return -(-count // unit) * unit


def grouped(parts: Iterator[Part], size: int) -> Iterator[list[Part]]:
    """Neighbours together as long as they stay within ``size`` rows; longer ones split."""
    group: list[Part] = []
    count = 0
    for part in parts:
        for piece in part.split(size) if len(part) > size else [part]:
            if group and count + len(piece) > size:
                yield group
                group, count = [], 0
            group.append(piece)
            count += len(piece)
    if group:
        yield group


def gather(parts: Sequence[Part], values: Mapping[fx.Node, Value]) -> tuple[dict, int]:
    """The values of the rows of several parts, and how many rows they hold."""
    count = sum(map(len, parts))
    wanted = rounded(count)
    first = parts[0]
    whole = isinstance(first.rows, slice) and len(first) == len(first.chunk)
    if len(parts) == 1 and whole and first.chunk.held == wanted:
        return dict(first.chunk.values), wanted
    found = {}
    for node in first.chunk.values:
        where = values[node].rows
        if where is None:
            found[node] = first.chunk.values[node]
            continue
        tensors = [where.pick(part.chunk.values[node], part.rows) for part in parts]
        if wanted > count:
            tensors.append(where.pick(tensors[0], [0] * (wanted - count)))
        found[node] = tensors[0] if len(tensors) == 1 else where.join(tensors)
    return found, wanted


def halves(
    chunks: Sequence[Chunk], values: Mapping[fx.Node, Value]
) -> tuple[list[Chunk], list[Chunk]]:
    """The first and the second half of the rows."""
    target, count = sum(map(len, chunks)) // 2, 0
    first: list[Chunk] = []
    for number, chunk in enumerate(chunks):
        if count + len(chunk) > target:
            if count == 0 or target - count >= len(chunk) // 4:
                before, after = cut(chunk, max(1, target - count), values)
                return [*first, before], [after, *chunks[number + 1 :]]
            return first, list(chunks[number:])
        first.append(chunk)
        count += len(chunk)
    raise AssertionError("there is more than one row")


def cut(chunk: Chunk, size: int, values: Mapping[fx.Node, Value]) -> tuple[Chunk, Chunk]:
    """The first ``size`` rows, and the others; copies, so that each can be freed."""

    def some(rows: slice) -> Chunk:
        picked = {
            node: value if values[node].rows is None else values[node].rows.pick(value, rows)  # type: ignore[union-attr]
            for node, value in chunk.values.items()
        }
        copies = {node: value.clone() for node, value in picked.items()}
        branch, image = chunk.branch[rows], chunk.image[rows]
        return Chunk(branch, image, copies, len(branch))

    return some(slice(0, size)), some(slice(size, len(chunk)))


def all_images(values: dict[fx.Node, Tensor], start: int, count: int) -> Chunk:
    """A chunk of ``count`` images from ``start`` on, before any layer."""
    image = np.arange(start, start + count)
    return Chunk(np.zeros(count, np.int64), image, values, count)
