"""Proxies with parameters, each fitted to what it is not scored on."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy.optimize import nnls

from ltqlib.bench.proxies import PROXIES, WORDS, Function, Proxy
from ltqlib.bench.table import EQUAL_HEAD, HALVES, Ints, lost, rows_of, seen

Array = npt.NDArray[np.float64]

INGREDIENTS = (  # of a mixture, where they were measured; chosen before any of them was scored
    "average weight bits",
    "BOPs",
    "share called tail",
    "tail at equal head, sum",
    "accuracy drop, sum",
    "log-odds, sum",
    "noise of outputs",
    "loss increase",
    "KL divergence",
    "FIT",
    "HAWQ-v2, trace",
)
PENALTY = 1.0  # of the ridge regression, in units of one configuration


def ranks(values: npt.ArrayLike) -> Array:
    """Ranks scaled to [-1, 1], in the order of the values; equal values as they come."""
    order = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    return np.asarray(2.0 * order / max(1, len(order) - 1) - 1)


def mixture(others: Sequence[xr.Dataset], families: Sequence[str], target: str) -> Function:
    """A proxy that adds ranks of others with weights, not negative, fitted on *other* networks.

    The weights are those that bring the ranks of the others' true losses closest (least squares),
    over both directions between the halves, as in scoring.

    Args:
        others: tables of other networks than the one to be scored.
        families: which of their configurations count.
        target: which loss is to be predicted; see :func:`ltqlib.bench.lost`.
    """
    parts = [part for part in _ingredients(target) if all(part.measured(one) for one in others)]
    columns, targets = [], []
    for table in others:
        rows = rows_of(table, families)
        for half, other in (HALVES, HALVES[::-1]):
            columns.append(_stacked(parts, seen(table, half, rows)))
            targets.append(ranks(lost(table, target, other).values[rows]))
    weights, _ = nnls(np.concatenate(columns), np.concatenate(targets))
    return lambda view: view.widths[:, 0].copy(data=_stacked(parts, view) @ weights)


def _ingredients(target: str) -> list[Proxy]:
    """The ingredients without classes, and the others as they see the target's group."""
    group = "tail" if target == EQUAL_HEAD else target
    names = {name for part in INGREDIENTS for name in (part, f"{part}, {WORDS.get(group, group)}")}
    return [proxy for name, proxy in PROXIES.items() if name in names]


def _stacked(parts: Sequence[Proxy], view: xr.Dataset) -> Array:
    return np.stack([ranks(part.function(view)) for part in parts], axis=1)


def additive_fit(table: xr.Dataset, rows: Ints, half: str, target: str) -> Array:
    """What a regression says: points a layer and width, fitted to the losses of configurations.

    Ridge regression, fitted to half of the clusters to predict the other half, and the other way
    round; losses are those on ``half``. It needs thousands of evaluated configurations where a
    proxy needs each layer alone: something to compare with.

    Returns:
        Predictions for ``rows``, (len(rows),).
    """
    losses = lost(table, target, half).values[rows]
    widths = table.widths.transpose("configuration", "layer").values[rows]
    design = (widths[:, :, None] == np.unique(widths)).reshape(len(widths), -1).astype(float)
    cluster = table.cluster.values[rows]
    first = np.isin(cluster, np.unique(cluster)[::2])
    predicted = np.empty(len(rows))
    for fitted in (first, ~first):
        predicted[~fitted] = _ridge(design[fitted], losses[fitted], design[~fitted])
    return predicted


def _ridge(design: Array, losses: Array, wanted: Array) -> Array:
    centre, mean = design.mean(axis=0), losses.mean()
    inside = design - centre
    gram = inside.T @ inside + PENALTY * np.eye(design.shape[1])
    coefficients = np.linalg.solve(gram, inside.T @ (losses - mean))
    return np.asarray(mean + (wanted - centre) @ coefficients)
