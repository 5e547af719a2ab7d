"""Proxies with parameters, each fitted to what it is not scored on."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

from ltqlib.first.bench.columns import Array, Bench, Ints, View
from ltqlib.first.bench.proxies import PROXIES, Proxy
from ltqlib.first.records import HALVES

INGREDIENTS = (  # of a mixture, where they were measured; chosen before any of them was scored
    "average weight bits",
    "BOPs",
    "accuracy drop, sum",
    "log-odds, sum",
    "noise of outputs",
    "loss increase",
    "KL divergence",
    "FIT",
    "HAWQ-v2, trace",
)
PENALTY = 1.0  # of the ridge regression, in units of one configuration


def ranks(values: Array) -> Array:
    """Ranks scaled to [-1, 1], in the order of the values; equal values as they come."""
    order = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    return np.asarray(2.0 * order / max(1, len(values) - 1) - 1)


def mixture(
    others: Sequence[Bench], families: Sequence[str], group: str
) -> Callable[[View], Array]:
    """A proxy that adds ranks of others with weights, not negative, fitted on *other* models.

    The weights are those that bring the ranks of the others' true losses closest (least squares),
    over both directions between the halves, as in scoring.

    Args:
        others: benchmarks of other models than the one to be scored.
        families: which of their configurations count.
        group: whose loss is to be predicted.
    """
    parts = [proxy for proxy in _ingredients(group) if _measured_in(proxy, others)]
    columns, targets = [], []
    for bench in others:
        rows = bench.rows(families)
        for half, other in (HALVES, HALVES[::-1]):
            columns.append(_stacked(parts, bench.view(half, rows)))
            targets.append(ranks(bench.lost(group, other)[rows]))
    weights, _ = nnls(np.concatenate(columns), np.concatenate(targets))
    return lambda view: np.asarray(_stacked(parts, view) @ weights)


def _ingredients(group: str) -> list[Proxy]:
    """The ingredients without classes, and the others as they see the group."""
    word = {"norm": "all"}.get(group, group)
    names = {name for part in INGREDIENTS for name in (part, f"{part}, {word}")}
    return [proxy for proxy in PROXIES if proxy.name in names]


def _measured_in(proxy: Proxy, benches: Sequence[Bench]) -> bool:
    return all(name in bench.scores[HALVES[0]] for bench in benches for name in proxy.scores)


def _stacked(parts: Sequence[Proxy], view: View) -> Array:
    return np.stack([ranks(part.function(view)) for part in parts], axis=1)


def additive_fit(bench: Bench, rows: Ints, half: str, group: str) -> Array:
    """What a regression says: points a layer and width, fitted to the losses of configurations.

    Ridge regression, fitted to half of the clusters to predict the other half, and the other way
    round; losses are those on ``half``. It needs thousands of evaluated configurations where a
    proxy needs each layer alone: something to compare with.

    Returns:
        Predictions for ``rows``, (len(rows),).
    """
    target = bench.lost(group, half)[rows]
    design = _one_hot(bench.widths[rows])
    clusters = np.unique(bench.cluster[rows])
    first = np.isin(bench.cluster[rows], clusters[::2])
    predicted = np.empty(len(rows))
    for fitted in (first, ~first):
        predicted[~fitted] = _ridge(design[fitted], target[fitted], design[~fitted])
    return predicted


def _one_hot(widths: Ints) -> Array:
    """(M, layers) to (M, layers * distinct widths)."""
    values = np.unique(widths)
    return np.asarray((widths[:, :, None] == values).reshape(len(widths), -1), dtype=float)


def _ridge(design: Array, target: Array, wanted: Array) -> npt.NDArray[np.float64]:
    centre, mean = design.mean(axis=0), target.mean()
    inside = design - centre
    gram = inside.T @ inside + PENALTY * np.eye(design.shape[1])
    coefficients = np.linalg.solve(gram, inside.T @ (target - mean))
    return np.asarray(mean + (wanted - centre) @ coefficients)
