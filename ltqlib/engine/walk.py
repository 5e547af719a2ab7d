"""One batch of images through a graph under all configurations, breadth first.

At every layer all rows that need the same variant of it go through together, in chunks that fit a
core's cache, with all nodes up to the next layer; rows whose configurations part there are copied
to each side. Where the values that live on would pass the memory bound, the rows are halved and
each half finished by itself.
"""

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, fx

from ltqlib.engine.operators import Operator
from ltqlib.engine.program import Program, Step
from ltqlib.engine.rows import Chunk, Part, all_images, gather, grouped, halves
from ltqlib.engine.tree import FLOAT, Fork, Ints, Tree
from ltqlib.errors import InputError
from ltqlib.quantization.types import Variant

# Bytes of a layer's input or output that go through together, up to twice as many: on a processor
# what fits a core's cache, on a graphics card what fills its units
CHUNK = {"cpu": 1 << 21, "cuda": 1 << 26}

Emit = Callable[[Ints, Ints, Tensor], None]  # (configurations, images, logits), row by row
Wanted = npt.NDArray[np.bool_]


Variants = Mapping[str, Mapping[int, Variant]]


class Walk:
    """All configurations of a tree on a graph.

    Args:
        program: the graph cut at its layers.
        variants: layer -> width -> its quantized form.
        tree: the configurations.
        memory: bytes that the values living on between layers may take.
    """

    def __init__(self, program: Program, variants: Variants, tree: Tree, memory: int) -> None:
        self.program, self.variants, self.tree, self.memory = program, variants, tree, memory
        self._operators: dict[tuple[str, fx.Node | None, int], Operator] = {}
        self._forks = self._find_forks()
        self._held: npt.NDArray[np.int32] | None = None  # configurations wanted, summed up

    def _find_forks(self) -> list[Fork]:
        """Of each step but the first, where the branches go."""
        columns = {name: column for column, name in enumerate(self.program.graph.layers)}
        forks, met = list[Fork](), 0
        for step in self.program.steps[1:]:
            column = columns[step.layer]
            forks.append(self.tree.fork(column, met))
            met = max(met, column + 1)
        return forks

    @torch.inference_mode()
    def run(self, pixels: Tensor, emit: Emit, wanted: Wanted | None = None) -> None:
        """Hand the logits of every configuration and image to ``emit``, in no given order.

        Args:
            pixels: a batch, as the graph takes it.
            wanted: (configurations, images): which to compute; None for all.
        """
        self._held = None
        if wanted is not None and not wanted.all():
            self._held = np.zeros((len(wanted) + 1, wanted.shape[1]), np.int32)
            np.cumsum(wanted, axis=0, out=self._held[1:])
        step = self.program.steps[0]
        images = step.reads[0]
        size = self._chunk_rows(self.program.steps[min(1, len(self.program.steps) - 1)])
        chunks = []
        for start in range(0, len(pixels), size):
            part = pixels[start : start + size]
            values = step.run(None, {images: part}, self.program.sizes(len(part)))
            chunks.append(all_images(values, start, len(part)))
        self._finish(1, chunks, self.memory, emit)

    def _finish(self, number: int, chunks: list[Chunk], allowance: int, emit: Emit) -> None:
        """Take chunks from a step to the end."""
        values = self.program.graph.values
        while number < len(self.program.steps) and chunks:
            if self._too_much(number, chunks, allowance):
                first, second = halves(chunks, values)
                chunks.clear()
                waiting = sum(map(len, second)) * self.program.steps[number].read_bytes
                self._finish(number, first, allowance - waiting, emit)
                chunks = second
                continue
            chunks = self._advance(number, chunks)
            number += 1
        for chunk in chunks:
            (logits,) = chunk.values.values()
            emit(chunk.branch, chunk.image, logits[: len(chunk)].float())

    def _too_much(self, number: int, chunks: list[Chunk], allowance: int) -> bool:
        """Whether a step would hold more than it may; half of it is for what waits behind."""
        step = self.program.steps[number]
        children = self._forks[number - 1].children
        rows = sum(map(len, chunks))
        after = sum(int(children[chunk.branch].sum()) for chunk in chunks) * step.keep_bytes
        need = max(rows * step.read_bytes + after, 2 * after)
        if need <= allowance:
            return False
        if rows > 1:
            return True
        raise InputError(
            f"one image takes {need / 2**20:.1f} MiB at layer {step.layer}, the bound is "
            f"{self.memory / 2**20:.1f} MiB: raise memory or give fewer configurations at once"
        )

    def _advance(self, number: int, chunks: list[Chunk]) -> list[Chunk]:
        """All chunks through one step, each row under every width that it needs."""
        step, found = self.program.steps[number], list[Chunk]()
        ways = [
            (width, [self._part(chunk, table, number) for chunk in chunks])
            for width, table in self._forks[number - 1].ways
        ]
        for chunk, *parts in zip(chunks, *(parts for _, parts in ways), strict=True):
            chunk.left = sum(part is not None for part in parts)
        chunks.clear()
        for width, parts in ways:
            operator = self._operator(step, width)
            some = (part for part in parts if part is not None)
            for group in grouped(some, self._chunk_rows(step)):
                found.append(self._through(step, operator, group))
        return found

    def _part(self, chunk: Chunk, table: Ints, number: int) -> Part | None:
        """The rows of a chunk that take the width of ``table``."""
        branch = table[chunk.branch]
        taken = branch >= 0
        if self._held is not None:
            firsts = self._forks[number - 1].firsts
            counts = self._held[firsts[branch + 1], chunk.image]
            taken &= counts > self._held[firsts[branch], chunk.image]
        if taken.all():
            return Part(chunk, slice(0, len(chunk)), branch, chunk.image)
        rows = np.flatnonzero(taken)
        if not len(rows):
            return None
        return Part(chunk, torch.from_numpy(rows), branch[rows], chunk.image[rows])

    def _through(self, step: Step, operator: Operator, parts: list[Part]) -> Chunk:
        values, held = gather(parts, self.program.graph.values)
        for part in parts:
            if part.last:
                part.chunk.release()
        kept = step.run(operator, values, self.program.sizes(held))
        if step is not self.program.steps[-1]:
            kept = {node: self._cast(value) for node, value in kept.items()}
        branch = np.concatenate([part.branch for part in parts])
        image = np.concatenate([part.image for part in parts])
        return Chunk(branch, image, kept, held)

    def _cast(self, value: Tensor) -> Tensor:
        return value.to(self.program.dtype) if value.dtype == torch.float32 else value

    def _chunk_rows(self, step: Step) -> int:
        """The power of two of rows that take one to two times ``CHUNK`` bytes."""
        chunk = CHUNK.get(self.program.graph.device.type, CHUNK["cpu"])
        return 1 << max(0, -(-chunk // max(1, step.row_bytes)) - 1).bit_length()

    def _operator(self, step: Step, width: int) -> Operator:
        key = (step.layer, step.site, width)
        if key not in self._operators:
            self._operators[key] = self._made(step, width)
        return self._operators[key]

    def _made(self, step: Step, width: int) -> Operator:
        graph, site, fusion = self.program.graph, step.site, step.fusion
        assert site is not None
        assert fusion is not None
        bias = graph.traced.constant(site.args[2]) if len(site.args) > 2 else None
        grid, weight = None, graph.traced.constants[graph.layers[step.layer].attribute]
        if width != FLOAT:
            variant = self._variant(step.layer, width)
            grid = variant.input
            if variant.weight is not None:
                weight = graph.held(step.layer, variant.weight.dequantize().to(weight.device))
        return Operator(site, weight, bias, step.dtype, fusion, grid)

    def _variant(self, layer: str, width: int) -> Variant:
        try:
            return self.variants[layer][width]
        except KeyError as error:
            raise InputError(
                f"there is no variant of layer {layer} at {width} bits: make one for each width"
            ) from error
