"""All scores of one graph on given images, by the names that LTQ-Bench's proxies read."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from ltqlib.importance.curvature import hessian_trace, top_eigenvalue
from ltqlib.importance.gradients import fisher, gradient_importance, taylor
from ltqlib.importance.learned import learned_importance
from ltqlib.importance.noise import output_sqnr, perturbation, sqnr
from ltqlib.importance.outputs import kl_divergence, logit_gap, loss_increase, one_layer_logits
from ltqlib.models.graph import Graph
from ltqlib.progress import Progress
from ltqlib.quantization import Method, variants

# Images a class that a kind of score sees: the first in a fixed random order
COUNTS = {"outputs": 100, "fisher": 50, "curvature": 20, "eigenvalue": 4}
LEARNING = {"steps": 20, "batch": 25, "learning_rate": 0.05}


def measure(
    graph: Graph,
    images: Any,
    labels: npt.ArrayLike,
    tail: Sequence[int],
    bits: Iterable[int] = (8, 6, 5, 4, 3, 2),
    method: str | Method = "w-tensor",
    calibration: Any = None,
    counts: Mapping[str, int] = COUNTS,
    probes: int = 16,
    iterations: int = 6,
    learning: Mapping[str, Any] = LEARNING,
) -> xr.Dataset:
    """Every score, of each layer at each width.

    Args:
        images: as ``Graph.pixels`` takes them; labels: (N,).
        tail: labels of the tail, for ``logit_gap``.
        bits: widths, each 2..8; those of a local ``method``, with ``calibration`` images if needed.
        counts: images a class for the scores of outputs and first derivatives, of FIT, of second
            derivatives and the SQNR of outputs, and of the eigenvalue.
        probes, iterations, learning: of the Hessian trace, the eigenvalue and the learned steps.

    Returns:
        (class, layer, bits): ``loss``, ``kl``, ``output_sqnr``, ``fit``, ``taylor``, ``hawq``;
        (class, layer): ``fisher``, ``gradient``, ``grape``, ``trace``, ``trace_error``;
        (layer, bits): ``sqnr``, ``logit_gap``, ``learned``; (layer): ``eigenvalue``,
        ``eigenvalue_residual`` (of the mean loss of all classes).

    Raises:
        InputError: labels or a tail that do not fit, a method that is not local, bits not 2..8.
    """
    rounded = variants(graph, bits, method, calibration)
    widths = list(next(iter(rounded.values())))
    sample = {use: balanced(images, labels, count) for use, count in counts.items()}
    everyone = {"all": np.unique(np.asarray(labels)).tolist()}
    outputs, curved = (graph, *sample["outputs"]), (graph, *sample["curvature"])
    with Progress(4, "scores of layers") as bar:
        found = _of_outputs(*outputs, rounded, tail)
        bar.update()
        trace = fisher(graph, *sample["fisher"])
        found |= {
            "fisher": trace,
            "fit": perturbation(trace, graph, rounded),
            "gradient": gradient_importance(*outputs),
            "grape": gradient_importance(*outputs, measure="grape"),
            "taylor": taylor(*outputs, rounded),
        }
        bar.update()
        hessian = hessian_trace(*curved, probes=probes)
        value = top_eigenvalue(graph, *sample["eigenvalue"], everyone, iterations=iterations)
        found |= {
            "trace": hessian.trace,
            "trace_error": hessian.standard_error,
            "hawq": perturbation(hessian.trace, graph, rounded),
            "output_sqnr": output_sqnr(*curved, rounded),
            "eigenvalue": value.value.isel(group=0, drop=True),
            "eigenvalue_residual": value.residual.isel(group=0, drop=True),
        }
        bar.update()
        found["learned"] = learned_importance(*outputs, widths, **learning)
        bar.update()
    return xr.Dataset(found)


def _of_outputs(
    graph: Graph, images: Any, labels: npt.NDArray, rounded: Any, tail: Sequence[int]
) -> dict[str, xr.DataArray]:
    logits = one_layer_logits(graph, images, rounded, labels)
    return {
        "loss": loss_increase(logits),
        "kl": kl_divergence(logits),
        "logit_gap": logit_gap(logits, tail=tail),
        "sqnr": sqnr(graph, rounded),
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
