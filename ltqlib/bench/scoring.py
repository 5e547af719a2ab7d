"""Scores of proxies: rank correlation with true losses, and what is lost by picking with a proxy.

A proxy sees one half of the test images and is scored by the true loss on the other; then the
halves swap, and the two are averaged. Intervals are bootstraps over clusters: configurations that
share their first layers are drawn together, and the same draws serve every proxy and model, so
that scores can be subtracted draw by draw.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy import stats

from ltqlib.bench.proxies import Function
from ltqlib.bench.table import HALVES, TARGETS, Ints, lost, mean_bits, seen
from ltqlib.errors import InputError

Array = npt.NDArray[np.float64]
Samples = npt.NDArray[np.float32]
LEVEL = 0.95
DIGITS = 11  # of a prediction that count, relative to the largest


@dataclass(frozen=True)
class Score:
    """A score with its bootstrap.

    Args:
        value: of all configurations.
        draws: of each draw of clusters, (B,).
    """

    value: float
    draws: Array

    @property
    def interval(self) -> tuple[float, float]:
        """The percentile interval at 95 %."""
        tails = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
        low, high = np.nanquantile(self.draws, tails).tolist()
        return low, high

    @staticmethod
    def mean(scores: "Sequence[Score]") -> "Score":
        """The mean over halves or models, draw by draw."""
        value = float(np.mean([score.value for score in scores]))
        return Score(value, np.mean([score.draws for score in scores], axis=0))

    def __sub__(self, other: "Score") -> "Score":
        return Score(self.value - other.value, self.draws - other.draws)


def multiplicities(cluster: Ints, count: int, seed: int = 0) -> Samples:
    """How often each configuration is in each of ``count`` bootstrap samples of clusters.

    Clusters are drawn with replacement, as many as there are; (M, 1 + count), the first column is
    ones.
    """
    _, inside = np.unique(cluster, return_inverse=True)
    number = int(inside.max()) + 1
    drawn = np.random.default_rng(seed).multinomial(number, np.full(number, 1 / number), count)
    return np.concatenate([np.ones((number, 1)), drawn.T], axis=1).astype(np.float32)[inside]


@dataclass(frozen=True, eq=False)
class Ranked:
    """Values (M,) as ranks within samples that hold them ``weights`` (M, B) times each."""

    values: Array
    weights: Samples

    @cached_property
    def centred(self) -> Samples:
        """Midranks less their mean, (M, B)."""
        order = np.argsort(self.values, kind="stable")
        ordered = self.values[order]
        starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
        total, tied = self.weights[order], len(starts) < len(order)
        if tied:
            total = np.add.reduceat(total, starts, axis=0)
        rank = total.cumsum(axis=0)  # whole numbers below 2**24, exact in float32
        total += self.weights.sum(axis=0)
        total /= 2
        rank -= total  # of the middle of equal values
        ranks = np.empty_like(self.weights)
        ranks[order] = np.repeat(rank, np.diff(np.r_[starts, len(order)]), axis=0) if tied else rank
        return ranks

    @cached_property
    def weighted(self) -> Samples:
        """Midranks less their mean, as often as they are there, (M, B)."""
        return self.weights * self.centred

    @cached_property
    def spread(self) -> Samples:
        """Root of the sum of squares, (B,)."""
        return np.sqrt(np.einsum("mb,mb->b", self.weighted, self.centred))

    def correlation(self, other: "Ranked") -> Array:
        """Spearman's correlation with other values in the same samples, (B,); NaN if constant."""
        product = np.einsum("mb,mb->b", self.centred, other.weighted)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(product / (self.spread * other.spread), dtype=np.float64)


class Scorer:
    """Scores proxies on some configurations of one network.

    Args:
        table: what :func:`ltqlib.bench.tabulate` returns.
        rows: places of the configurations that count, as :func:`ltqlib.bench.rows_of` gives them.
        draws: bootstrap samples.
    """

    def __init__(self, table: xr.Dataset, rows: Ints, draws: int = 200) -> None:
        self.table, self.rows = table, rows
        self.weights = multiplicities(table.cluster.values[rows], draws)
        self.views = {half: seen(table, half, rows) for half in HALVES}
        self.mean_bits = mean_bits(table).values[rows]
        self._truths: dict[tuple[str, str], Ranked] = {}
        self._predicted: dict[tuple[Function, str], Array] = {}

    def truth(self, target: str, half: str) -> Ranked:
        """True losses, measured on a half; see :func:`ltqlib.bench.lost`."""
        if (target, half) not in self._truths:
            values = lost(self.table, target, half).values[self.rows]
            self._truths[target, half] = Ranked(values, self.weights)
        return self._truths[target, half]

    def predictions(self, proxy: Function, half: str) -> Array:
        """What a proxy says of every configuration after seeing a half, (M,), 1 the largest.

        Raises:
            InputError: not one finite number a configuration.
        """
        if (proxy, half) in self._predicted:
            return self._predicted[proxy, half]
        values = np.asarray(proxy(self.views[half]), dtype=float)
        if values.shape != self.rows.shape or not np.isfinite(values).all():
            raise InputError(
                f"the proxy gave shape {values.shape}, or a value that is not finite: return one "
                f"number for each of the {len(self.rows)} configurations"
            )
        # what sums leave in the last digits is no difference: equal values are equal
        values = np.round(values / (np.abs(values).max() or 1.0), DIGITS)
        self._predicted[proxy, half] = values
        return values

    def spearman(self, proxy: Function, targets: Sequence[str] = TARGETS) -> dict[str, Score]:
        """Rank correlation of a proxy with each true loss, over both halves."""
        return self.correlations({half: self.predictions(proxy, half) for half in HALVES}, targets)

    def correlations(
        self, predicted: Mapping[str, Array], targets: Sequence[str]
    ) -> dict[str, Score]:
        """The same for predictions (M,) by the half that they were made from."""
        found: dict[str, list[Score]] = {target: [] for target in targets}
        for half, other in (HALVES, HALVES[::-1]):
            ranked = Ranked(predicted[half], self.weights)
            for target in targets:
                values = ranked.correlation(self.truth(target, other))
                found[target].append(Score(float(values[0]), values[1:]))
        return {target: Score.mean(scores) for target, scores in found.items()}

    def kendall(self, proxy: Function, target: str = "tail") -> float:
        """Kendall's tau-b of a proxy with a true loss, the mean over both directions."""
        each = [
            stats.kendalltau(self.predictions(proxy, half), self.truth(target, other).values)
            for half, other in (HALVES, HALVES[::-1])
        ]
        return float(np.mean([found.statistic for found in each]))

    def agreement(self, target: str) -> Score:
        """Rank correlation of the two halves' true losses: what noise leaves to a perfect proxy.

        A proxy without noise of its own may go beyond it.
        """
        first, second = (self.truth(target, half) for half in HALVES)
        values = first.correlation(second)
        return Score(float(values[0]), values[1:])

    def regret(self, proxy: Function, most: float, target: str = "tail") -> Score:
        """Points lost beyond an exact search, with the configuration that a proxy picks.

        Of the configurations of at most ``most`` bits a weight the proxy picks the best by what
        it saw on one half, the exact search that of the least true loss there; both are judged
        on the other half. Draws are of clusters to pick from.

        Raises:
            InputError: no configuration is that small.
        """
        inside = np.flatnonzero(self.mean_bits <= most + 1e-9)
        if not len(inside):
            raise InputError(f"no configuration has {most:g} bits a weight or fewer")
        scores = []
        for half, other in (HALVES, HALVES[::-1]):
            judged = self.truth(target, other).values[inside]
            seen_there = self.truth(target, half).values[inside]
            predicted = self.predictions(proxy, half)[inside]
            there = self.weights[inside] > 0
            beyond = judged[_first(predicted, there)] - judged[_first(seen_there, there)]
            scores.append(Score(float(beyond[0]), beyond[1:]))
        return Score.mean(scores)


def _first(values: Array, there: npt.NDArray[np.bool_]) -> Ints:
    """The place of the smallest value among those that are in each sample, (m, B) to (B,)."""
    order = np.argsort(values, kind="stable")
    return np.asarray(order[there[order].argmax(axis=0)])
