"""What a graph predicts under any number of bit configurations."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ltqlib.engine.precision import CLOSE, MOSTLY, find_precision, margin_error, pilot
from ltqlib.engine.program import Program
from ltqlib.engine.reducers import Reducer, predicted
from ltqlib.engine.tree import Ints, Tree
from ltqlib.engine.walk import Variants, Walk, Wanted
from ltqlib.errors import InputError
from ltqlib.models.exact import exact_float32
from ltqlib.models.graph import Graph, as_tensor
from ltqlib.progress import Progress
from ltqlib.training.devices import convolves_bf16

MEMORY = {"cpu": 256 * 2**20, "cuda": 4 * 2**30}  # bytes, by kind of device
BATCH = 500  # images that go down the tree together, at most
MERGED = 4096  # rows of logits that are reduced together

Found = dict[str, npt.NDArray[Any]]


def predict(
    graph: Graph,
    variants: Variants,
    widths: npt.ArrayLike,
    images: Any,
    reduce: Reducer = predicted,
    *,
    precision: str = "auto",
    memory: int | None = None,
    progress: str = "",
) -> Found:
    """What is kept of the logits of every configuration on every image.

    What configurations share is computed once: all images under all distinct prefixes of widths
    go through the graph together, layer by layer.

    Args:
        graph: the float model.
        variants: layer -> width -> the layer in quantized form, for each width that is used.
        widths: of the layers in order, (K, layers); 0 and 32 leave a layer float.
        images: uint8 (N, H, W, C), or a tensor (N, ...) as the traced module takes it.
        reduce: from logits (rows, C) to named arrays (rows, ...).
        precision: ``float32``; ``bfloat16``, with cases that are close against its error settled
            in float32, for which ``reduce`` says how close a case is; or ``auto``, which is
            bfloat16 where the chip has units for it and few cases are close.
        memory: bytes that the activations living on between layers may take (weights come on top);
            None is 256 MiB, 4 GiB on a graphics card.
        progress: what to call the work in progress lines; none if empty.

    Returns:
        name -> (K, N, ...).

    Raises:
        InputError: widths of another number of layers, a variant that is missing, images of
            another shape, an unknown precision, or a bound that a single image passes.
    """
    tree = Tree(widths, len(graph.layers))
    memory = memory or MEMORY.get(graph.device.type, MEMORY["cpu"])
    work = _Work(graph, variants, tree, images, reduce, memory, progress)
    if _takes_bfloat16(work, precision):
        found = work.in_bfloat16(only_if_few=precision == "auto")
    else:
        found = work.exactly()
    return {name: _in_order(values, tree.back) for name, values in found.items()}


@torch.inference_mode()
def predict_module(
    module: nn.Module, images: Any, reduce: Reducer = predicted, batch: int = BATCH
) -> Found:
    """What is kept of the logits that any module gives, name -> (N, ...); the plain way.

    Args:
        module: from images (B, ...) to logits (B, C), in eval mode.
        images: uint8 (N, H, W, C), or a tensor (N, ...), as the module takes it.
        reduce: from logits (rows, C) to named arrays (rows, ...).
        batch: images that are computed together.
    """
    held = next(itertools.chain(module.parameters(), module.buffers()), None)
    device = torch.device("cpu") if held is None else held.device
    with exact_float32(device):
        parts = [
            reduce(module(as_tensor(images[start : start + batch]).to(device)).float())
            for start in range(0, len(images), batch)
        ]
    return {name: np.concatenate([_array(part[name]) for part in parts]) for name in parts[0]}


def _in_order(values: npt.NDArray[Any], back: Ints) -> npt.NDArray[Any]:
    """Configurations as they were given."""
    return values if np.array_equal(back, np.arange(len(values))) else values[back]


def _takes_bfloat16(work: "_Work", precision: str) -> bool:
    found = find_precision(precision, work.graph.device)
    if precision == "auto" and work.reads_grids():
        return False  # a rounded input lands on another level of its grid, which is no small error
    if found == "bfloat16" and not hasattr(work.reduce, "gap"):
        if precision == "bfloat16":
            raise InputError("bfloat16 needs a reducer with a gap: use precision 'float32'")
        return False
    if precision == "bfloat16" and not convolves_bf16(work.graph.device):
        raise InputError("this processor has no convolution in bfloat16: use precision 'auto'")
    return found == "bfloat16"


class _Work:
    """One call of :func:`predict`."""

    def __init__(
        self,
        graph: Graph,
        variants: Variants,
        tree: Tree,
        images: Any,
        reduce: Reducer,
        memory: int,
        progress: str,
    ) -> None:
        self.graph, self.variants, self.tree = graph, variants, tree
        self.images, self.reduce, self.memory, self.progress = images, reduce, memory, progress
        self.walks: dict[torch.dtype, Walk] = {}

    def walk(self, dtype: torch.dtype) -> Walk:
        """The walk in an arithmetic, made once."""
        if dtype not in self.walks:
            program = Program(self.graph, dtype)
            self.walks[dtype] = Walk(program, self.variants, self.tree, self.memory)
        return self.walks[dtype]

    def reads_grids(self) -> bool:
        """Whether any layer's input is quantized."""
        return any(
            variant.input is not None
            for by_width in self.variants.values()
            for variant in by_width.values()
        )

    def exactly(self) -> Found:
        """Everything in float32."""
        return self._all(torch.float32, _Store(self), None, self.progress).found

    def in_bfloat16(self, only_if_few: bool) -> Found:
        """In bfloat16, and what is close again in float32."""
        try:
            threshold, share = self._threshold()
        except RuntimeError:  # an operator without a bfloat16 form
            if only_if_few:
                return self.exactly()
            raise
        if only_if_few and share > MOSTLY:
            return self.exactly()
        store = _Store(self, threshold)
        self._all(torch.bfloat16, store, None, self.progress)
        what = f"{self.progress}, close cases" if self.progress else ""
        again = _Store(self, found=store.found)
        return self._all(torch.float32, again, store.close, what).found

    def _threshold(self) -> tuple[npt.NDArray[np.float32], float]:
        """Gap up to which a case is close, (configurations,), and the share of close cases."""
        sample = self.images[pilot(len(self.images))]
        logits = []
        for dtype in (torch.bfloat16, torch.float32):
            pixels = self.graph.pixels(sample)
            kept = torch.zeros(len(self.tree), len(pixels), self.graph.classes)

            def keep(branch: Ints, image: Ints, rows: Tensor, kept: Tensor = kept) -> None:
                kept[torch.from_numpy(branch), torch.from_numpy(image)] = rows.cpu()

            with exact_float32(self.graph.device):
                self.walk(dtype).run(pixels, keep)
            logits.append(kept)
        threshold = CLOSE * margin_error(*logits)
        gaps = self._gap(logits[0].flatten(0, 1)).reshape(len(self.tree), -1)
        return threshold, float((~(gaps > threshold[:, None])).mean())

    def _gap(self, logits: Tensor) -> npt.NDArray[np.float32]:
        gap: Callable[[Tensor], Tensor] = self.reduce.gap  # type: ignore[attr-defined]
        return np.asarray(gap(logits).cpu().numpy(), dtype=np.float32)

    def _all(
        self, dtype: torch.dtype, store: "_Store", wanted: Wanted | None, progress: str
    ) -> "_Store":
        """All images, batch by batch."""
        walk, size = self.walk(dtype), self._batch()
        positions = np.arange(len(self.images))
        if wanted is not None:
            positions = np.flatnonzero(wanted.any(0))
        with Progress(len(positions), progress) as bar:
            for start in range(0, len(positions), size):
                at = positions[start : start + size]
                store.at = at
                part = None if wanted is None else wanted[:, at]
                with exact_float32(self.graph.device):
                    walk.run(self.graph.pixels(self.images[at]), store.add, part)
                store.flush()
                bar.update(len(at))
        return store

    def _batch(self) -> int:
        """Images that begin together: few enough that half the bound holds their pixels."""
        first = self.walk(torch.float32).program.steps[min(1, len(self.graph.layers))]
        return min(BATCH, max(1, self.memory // (4 * max(1, first.read_bytes))))


class _Store:
    """Collects logits, reduces many rows at once and puts the results where they belong."""

    def __init__(
        self,
        work: _Work,
        threshold: npt.NDArray[np.float32] | None = None,
        found: Found | None = None,
    ) -> None:
        self.work, self.threshold = work, threshold
        self.shape = (len(work.tree), len(work.images))
        self.found: Found = found or {}
        self.close = np.zeros(self.shape, dtype=bool)
        self.at: Ints = np.empty(0, np.int64)  # positions of the batch's images
        self.waiting: list[tuple[Ints, Ints, Tensor]] = []
        self.rows = 0

    def add(self, branch: Ints, image: Ints, logits: Tensor) -> None:
        """Logits of some rows of the batch."""
        self.waiting.append((branch, self.at[image], logits))
        self.rows += len(branch)
        if self.rows >= MERGED:
            self.flush()

    def flush(self) -> None:
        """Reduce what waits."""
        if not self.waiting:
            return
        branches, images, parts = zip(*self.waiting, strict=True)
        branch, image = np.concatenate(branches), np.concatenate(images)
        logits = torch.cat(parts)
        self.waiting, self.rows = [], 0
        for name, values in self.work.reduce(logits).items():
            array = _array(values)
            if name not in self.found:
                self.found[name] = np.zeros((*self.shape, *array.shape[1:]), array.dtype)
            self.found[name][branch, image] = array
        if self.threshold is not None:  # written so that a gap that is no number is close too
            self.close[branch, image] = ~(self.work._gap(logits) > self.threshold[branch])


def _array(values: Any) -> npt.NDArray[Any]:
    return values.cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
