"""What a graph predicts under any number of bit configurations."""

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ltqlib.engine.job import Job
from ltqlib.engine.precision import find_precision
from ltqlib.engine.reducers import Reducer, predicted
from ltqlib.engine.store import Found, as_array
from ltqlib.engine.tree import Ints, Tree
from ltqlib.engine.walk import Variants, Wanted
from ltqlib.errors import InputError
from ltqlib.models.exact import exact_float32
from ltqlib.models.graph import Graph, as_tensor

MEMORY = {"cpu": 256 * 2**20, "cuda": 4 * 2**30}  # bytes, by kind of device
BATCH = 500  # images that a module alone computes together


def predict(
    graph: Graph,
    variants: Variants,
    widths: npt.ArrayLike,
    images: Any,
    reduce: Reducer = predicted,
    *,
    precision: str = "auto",
    memory: int | None = None,
    wanted: Wanted | None = None,
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
        wanted: (K, N), which cases to compute, all where None; the others are 0.
        progress: what to call the work in progress lines; none if empty.

    Returns:
        name -> (K, N, ...).

    Raises:
        InputError: widths of another number of layers, a variant that is missing, images of
            another shape, an unknown precision, or a bound that a single image passes.
    """
    tree = Tree(widths, len(graph.layers))
    memory = memory or MEMORY.get(graph.device.type, MEMORY["cpu"])
    job = Job(graph, variants, tree, images, reduce, memory, progress)
    needed = None if wanted is None else _merged(wanted, tree, len(images))
    if _takes_bfloat16(job, precision):
        found = job.in_bfloat16(needed, only_if_few=precision == "auto")
    else:
        found = job.exactly(needed)
    found = {name: _in_order(values, tree.back) for name, values in found.items()}
    if wanted is not None:
        for values in found.values():
            values[~wanted] = 0
    return found


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
    return {name: np.concatenate([as_array(part[name]) for part in parts]) for name in parts[0]}


def _merged(wanted: Wanted, tree: Tree, count: int) -> Wanted:
    """What is wanted of the distinct configurations."""
    if wanted.shape != (len(tree.back), count):
        raise InputError(
            f"wanted has shape {wanted.shape}: give ({len(tree.back)}, {count}), one entry a "
            f"configuration and image"
        )
    merged = np.zeros((len(tree), count), dtype=bool)
    np.logical_or.at(merged, tree.back, wanted)
    return merged


def _in_order(values: npt.NDArray[Any], back: Ints) -> npt.NDArray[Any]:
    """Configurations as they were given."""
    return values if np.array_equal(back, np.arange(len(values))) else values[back]


def _takes_bfloat16(job: Job, precision: str) -> bool:
    found = find_precision(precision, job.graph.device)
    if precision == "auto" and job.rounds_inputs():
        return False  # a rounded input lands on another level of its grid, which is no small error
    if found == "bfloat16" and not hasattr(job.store.reduce, "gap"):
        if precision == "bfloat16":
            raise InputError("bfloat16 needs a reducer with a gap: use precision 'float32'")
        return False
    return found == "bfloat16"
