"""Where the images of a batch lie in each value of a graph, found by trying.

Models fold heads and windows into the batch, or move it behind another axis. A graph is run on
five images, on two of them in another order, and on one alone: a value holds the images along the
axis for which picking them out of the first run gives the other two. A value for which there is no
such axis depends on several images at once, or on chance.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from ltqlib.errors import InputError
from ltqlib.models.layers import module_of, sites
from ltqlib.models.trace import Traced

IMAGES, PICKS = 5, ([3, 1], [2])
# Rounding differs with the batch. Two values agree if they are closer than CLOSE of the largest
# result, or than ROUNDING of the largest operand, of which little may be left in the result.
CLOSE, ROUNDING = 1e-3, 1e-5


@dataclass(frozen=True)
class Rows:
    """Where rows lie in a tensor: axis ``axis`` is (outer, rows, inner), flattened."""

    axis: int
    outer: int = 1
    inner: int = 1

    def pick(self, value: Tensor, rows: Any) -> Tensor:
        """Some rows, by a list or tensor of positions, or by a slice, which copies nothing."""
        if self.outer == self.inner == 1:
            return value[(*[slice(None)] * self.axis, rows)]
        apart = value.unflatten(self.axis, (self.outer, -1, self.inner))
        picked = apart[(*[slice(None)] * (self.axis + 1), rows)]
        return picked.flatten(self.axis, self.axis + 2)

    def join(self, values: Sequence[Tensor]) -> Tensor:
        """The rows of several tensors, one after the other."""
        if self.outer == 1:
            return torch.cat(list(values), self.axis)
        apart = [value.unflatten(self.axis, (self.outer, -1, self.inner)) for value in values]
        return torch.cat(apart, self.axis + 1).flatten(self.axis, self.axis + 2)


@dataclass(frozen=True)
class Value:
    """What is known of a tensor in a graph."""

    rows: Rows | None  # None: the same for all images
    size: int  # values that an image has in it
    dtype: torch.dtype
    bound: float = 0.0  # up to which results differ by rounding alone
    mixed: bool = False  # depends on several images at once


def probe(traced: Traced, example: Tensor) -> dict[fx.Node, Value]:
    """What is known of every tensor that the graph computes."""
    images = probe_images(example)
    found: dict[fx.Node, Value] = {}
    for node, operands, results in _together(traced, [images, *(images[p] for p in PICKS)]):
        if all(isinstance(result, Tensor) for result in results):
            bound = max(CLOSE * _largest(results), ROUNDING * _largest(operands))
            whole, two, one = results
            found[node] = locate(whole, two, one, bound)
    for node in {n for live in live_at(traced) for n in live if n in found}:
        if found[node].mixed:
            where = f" in {module_of(node)}" if module_of(node) else ""
            raise InputError(
                f"the result of {node.target}{where} depends on several images at once, or on "
                f"chance: the model must treat every image by itself in eval mode"
            )
    return found


def probe_images(example: Tensor) -> Tensor:
    """Five random images that look like ``example``, (5, ...)."""
    generator = torch.Generator().manual_seed(0)
    shape = (IMAGES, *example.shape[1:])
    if not example.is_floating_point():
        return torch.randint(0, 256, shape, generator=generator).to(example)
    spread, mean = float(example.std()), float(example.mean())
    noise = torch.randn(shape, generator=generator)
    return (noise * spread + mean if spread > 0 else noise).to(example)


def live_at(traced: Traced) -> list[list[fx.Node]]:
    """For each site, what was computed before and is read there or later; at the end, the logits.

    Constants and sizes are not listed.
    """
    nodes = list(traced.graph.nodes)
    at = {node: position for position, node in enumerate(nodes)}
    computed = [n for n in nodes if n.op in ("placeholder", "call_function") and _is_tensor(n)]
    last = {node: max((at[user] for user in node.users), default=-1) for node in computed}
    ends = [*(at[site] for site in sites(traced)), len(nodes) - 1]
    return [[n for n in computed if at[n] < end <= last[n]] for end in ends]


def _is_tensor(node: fx.Node) -> bool:
    return isinstance(node.meta.get("val"), Tensor)


Run = tuple[fx.Node, list[Any], list[Any]]


def _together(traced: Traced, batches: list[Tensor]) -> Iterator[Run]:
    """Every node, what it reads and its results for several batches; the rest is freed."""
    runs: list[dict[fx.Node, Any]] = [{} for _ in batches]
    left = {node: len(node.users) for node in traced.graph.nodes}
    for node in traced.graph.nodes:
        if node.op == "output":
            return
        for run, batch in zip(runs, batches, strict=True):
            run[node] = _result(traced, node, run, batch)
        if node.op != "get_attr":
            yield node, [runs[0][n] for n in node.all_input_nodes], [run[node] for run in runs]
        for source in node.all_input_nodes:
            left[source] -= 1
            if not left[source]:
                for run in runs:
                    del run[source]


def _result(traced: Traced, node: fx.Node, run: dict[fx.Node, Any], batch: Tensor) -> Any:
    if node.op == "placeholder":
        return batch
    if node.op == "get_attr":
        return traced.constants[str(node.target)]
    arguments = fx.map_arg((node.args, node.kwargs), lambda n: run[n])
    try:
        return node.target(*arguments[0], **arguments[1])  # type: ignore[operator]
    except Exception as error:
        raise InputError(
            f"{node.target} does not run on {len(batch)} images ({str(error).splitlines()[0]}): "
            f"the model must take any number of images"
        ) from error


def locate(whole: Tensor, two: Tensor, one: Tensor, bound: float = 0.0) -> Value:
    """Where five images lie in ``whole``, given what two and one of them give alone.

    Two values are the same if they differ by ``bound`` at most.
    """
    axes = [d for d in range(whole.ndim) if not whole.shape[d] == two.shape[d] == one.shape[d]]
    candidates: list[Rows | None] = [] if axes else [None]
    if len(axes) == 1:
        each = one.shape[axes[0]]
        outers = [n for n in range(1, each + 1) if each % n == 0]
        candidates = [Rows(axes[0], outer, each // outer) for outer in outers]
    for rows in candidates:
        parts = [whole if rows is None else rows.pick(whole, pick) for pick in PICKS]
        if all(_same(part, other, bound) for part, other in zip(parts, (two, one), strict=True)):
            size = whole.numel() // IMAGES if rows else whole.numel()
            return Value(rows, size, whole.dtype, bound)
    return Value(None, whole.numel() // IMAGES, whole.dtype, bound, mixed=True)


def _same(first: Tensor, second: Tensor, bound: float) -> bool:
    if first.shape != second.shape:
        return False
    if not first.is_floating_point():
        return torch.equal(first, second)
    return torch.allclose(first, second, rtol=0, atol=bound, equal_nan=True)


def _largest(values: list[Any]) -> float:
    """The largest magnitude in some tensors."""
    tensors = [v for v in values if isinstance(v, Tensor) and v.is_floating_point() and v.numel()]
    return max((float(v.detach().nan_to_num(0, 0, 0).abs().max()) for v in tensors), default=0.0)
