"""All scores of one graph on given images, by the names that LTQ-Bench's proxies read."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from ltqlib.importance.derivatives import fisher, hessian_trace, taylor
from ltqlib.importance.noise import output_sqnr, perturbation, sqnr
from ltqlib.importance.outputs import (
    accuracy_drop,
    called_tail,
    kl_divergence,
    logit_gap,
    loss_increase,
    one_layer_logits,
)
from ltqlib.models.graph import Graph
from ltqlib.progress import Progress
from ltqlib.quantization import Method, variants

# Images a class that a kind of score sees: the first in a fixed random order
COUNTS = {"outputs": 100, "fisher": 50, "curvature": 20}


def measure(
    graph: Graph,
    images: Any,
    labels: npt.ArrayLike,
    tail: Sequence[int],
    bits: Iterable[int] = (8, 6, 5, 4, 3),
    method: str | Method = "w-tensor",
    counts: Mapping[str, int] = COUNTS,
    probes: int = 16,
) -> xr.Dataset:
    """Every score, of each layer at each width.

    Args:
        images: as ``Graph.pixels`` takes them; labels: (N,).
        tail: labels of the tail, for the two scores that need no label.
        bits: widths, each 2..8; those of a local ``method`` that needs no calibration images.
        counts: images a class for the scores of outputs and Taylor's, of FIT, and of second
            derivatives and the SQNR of outputs.
        probes: of the Hessian trace.

    Returns:
        (class, layer, bits): ``accuracy``, ``loss``, ``kl``, ``output_sqnr``, ``taylor``, ``fit``,
        ``hawq``; (layer, bits): ``sqnr``, ``called_tail``, ``logit_gap``.

    Raises:
        InputError: labels or a tail that do not fit, a method that is not local, bits not 2..8.
    """
    rounded = variants(graph, bits, method)
    sample = {use: balanced(images, labels, count) for use, count in counts.items()}
    outputs, curved = (graph, *sample["outputs"]), (graph, *sample["curvature"])
    with Progress(3, "scores of layers") as bar:
        found = _of_outputs(one_layer_logits(graph, sample["outputs"][0], rounded,
                                             sample["outputs"][1]), tail)  # fmt: skip
        bar.update()
        found["taylor"] = taylor(*outputs, rounded)
        found["fit"] = perturbation(fisher(graph, *sample["fisher"]), graph, rounded)
        bar.update()
        found["hawq"] = perturbation(hessian_trace(*curved, probes=probes).trace, graph, rounded)
        found |= {"output_sqnr": output_sqnr(*curved, rounded), "sqnr": sqnr(graph, rounded)}
        bar.update()
    return xr.Dataset(found)


def _of_outputs(logits: xr.DataArray, tail: Sequence[int]) -> dict[str, xr.DataArray]:
    return {
        "accuracy": accuracy_drop(logits),
        "loss": loss_increase(logits),
        "kl": kl_divergence(logits),
        "called_tail": called_tail(logits, tail),
        "logit_gap": logit_gap(logits, tail),
    }


def balanced(images: Any, labels: npt.ArrayLike, count: int) -> tuple[Any, npt.NDArray[np.int64]]:
    """Up to ``count`` images of every class and their labels: the same for the same labels."""
    labels = np.asarray(labels)
    chosen = []
    for label in np.unique(labels):
        order = np.random.default_rng([7_040, int(label)])
        chosen.append(order.permutation(np.flatnonzero(labels == label))[:count])
    at = np.sort(np.concatenate(chosen))
    return images[at], labels[at].astype(np.int64)
