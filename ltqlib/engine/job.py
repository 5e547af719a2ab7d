"""One call of ``predict``: batches of images through the walk, in one precision or in two."""

from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ltqlib.engine.precision import CLOSE, MOSTLY, margin_error, pilot
from ltqlib.engine.program import Program
from ltqlib.engine.reducers import Reducer
from ltqlib.engine.store import Found, Gaps, Store
from ltqlib.engine.tree import Ints, Tree
from ltqlib.engine.walk import Variants, Walk, Wanted
from ltqlib.models.exact import exact_float32
from ltqlib.models.graph import Graph
from ltqlib.progress import Progress

BATCH = 500  # images that go down the tree together, at most


class Job:
    """All configurations of a tree on all images.

    Args:
        graph: the float model.
        variants: layer -> width -> the layer in quantized form.
        tree: the configurations.
        images: as the graph takes them, (N, ...).
        reduce: what is kept of logits.
        memory: bytes of activations between layers.
        progress: what to call the work; no lines if empty.
    """

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
        self.images, self.memory, self.progress = images, memory, progress
        self.store = Store((len(tree), len(images)), reduce)
        self._walks: dict[torch.dtype, Walk] = {}

    def rounds_inputs(self) -> bool:
        """Whether any layer's input is quantized."""
        each = (variant for by_width in self.variants.values() for variant in by_width.values())
        return any(variant.input is not None for variant in each)

    def exactly(self, wanted: Wanted | None) -> Found:
        """Everything in float32."""
        self._all(torch.float32, np.arange(len(self.images)), wanted, self.progress)
        return self.store.results(self.graph.classes)

    def in_bfloat16(self, wanted: Wanted | None, only_if_few: bool) -> Found:
        """In bfloat16, and what is close again in float32.

        The error of bfloat16 is measured on a few images, which are computed in both; their
        results are those of float32.

        Args:
            wanted: (configurations, images), or None for all.
            only_if_few: take float32 where many cases are close, or where an operator of the
                graph has no form in bfloat16.
        """
        at = pilot(len(self.images))
        try:
            rounded = self._logits(torch.bfloat16, at)
        except RuntimeError:
            if only_if_few:
                return self.exactly(wanted)
            raise
        exact = self._logits(torch.float32, at)
        threshold = CLOSE * margin_error(rounded, exact)
        others = np.setdiff1d(np.arange(len(self.images)), at)
        self._keep(exact, at)
        if only_if_few and self._close(rounded, threshold) > MOSTLY:
            self._all(torch.float32, others, wanted, self.progress)
            return self.store.results(self.graph.classes)
        self.store.threshold = threshold
        self._all(torch.bfloat16, others, wanted, self.progress)
        self.store.threshold = None
        what = f"{self.progress}, close cases" if self.progress else ""
        self._all(torch.float32, others, self.store.close, what)
        return self.store.results(self.graph.classes)

    def _logits(self, dtype: torch.dtype, at: Ints) -> Tensor:
        """Of all configurations on some images, (configurations, images, C)."""
        found = torch.zeros(len(self.tree), len(at), self.graph.classes)

        def keep(configuration: Ints, image: Ints, logits: Tensor) -> None:
            found[torch.from_numpy(configuration), torch.from_numpy(image)] = logits.cpu()

        size = self._batch()
        for start in range(0, len(at), size):
            part = at[start : start + size]
            self._run(dtype, part, lambda c, i, x, s=start: keep(c, i + s, x), None)
        return found

    def _keep(self, logits: Tensor, at: Ints) -> None:
        """Put logits (configurations, images, C) into the store."""
        for configuration, rows in enumerate(logits):
            self.store.add(np.full(len(at), configuration), at, rows)
        self.store.flush()

    def _close(self, logits: Tensor, threshold: Gaps) -> float:
        """The share of close cases among logits (configurations, images, C)."""
        gaps = self.store.gap(logits.flatten(0, 1)).reshape(logits.shape[:2])
        return float((~(gaps > threshold[:, None])).mean())

    def _all(
        self, dtype: torch.dtype, positions: Ints, wanted: Wanted | None, progress: str
    ) -> None:
        """Some images, batch by batch, into the store."""
        if wanted is not None:
            positions = positions[wanted[:, positions].any(0)]
        size = self._batch()
        with Progress(len(positions), progress) if progress else nullcontext() as bar:
            for start in range(0, len(positions), size):
                at = positions[start : start + size]
                part = None if wanted is None else wanted[:, at]
                self._run(dtype, at, lambda c, i, x, at=at: self.store.add(c, at[i], x), part)
                self.store.flush()
                if bar is not None:
                    bar.update(len(at))

    def _run(self, dtype: torch.dtype, at: Ints, emit: Any, wanted: Wanted | None) -> None:
        if dtype not in self._walks:
            program = Program(self.graph, dtype)
            self._walks[dtype] = Walk(program, self.variants, self.tree, self.memory)
        with exact_float32(self.graph.device):
            self._walks[dtype].run(self.graph.pixels(self.images[at]), emit, wanted)

    def _batch(self) -> int:
        """Images that begin together: few enough that a quarter of the bound holds them."""
        values = self.graph.values.items()
        first = max((value.size for node, value in values if node.op == "placeholder"), default=1)
        return min(BATCH, max(1, self.memory // (16 * first)))
