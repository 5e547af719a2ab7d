"""The leaderboard: every proxy on every network, and what to compare them with."""

from collections.abc import Collection, Hashable, Mapping, Sequence

import numpy as np
import pandas as pd
import xarray as xr

from ltqlib.bench.fitted import additive_fit, mixture
from ltqlib.bench.proxies import PROXIES, Function, Proxy
from ltqlib.bench.scoring import Score, Scorer
from ltqlib.bench.table import HALVES, TARGETS, one_layer, rows_of

ALL = "all"  # in place of a network: the mean over them
COLUMNS = ["proxy", "needs", "network", "target", "spearman", "low", "high"]
MIXTURE = "mixture of ranks"
ADDITIVE = "points a layer and width, fitted to half of the configurations"
OTHER_HALF = "true loss on the other images"
CALLED = "share called tail by the configuration itself"

Scores = Mapping[Hashable, Mapping[str, Score]]  # by network and target


class Leaderboard:
    """Scores of proxies on several networks, against each of TARGETS.

    Args:
        tables: what :func:`ltqlib.bench.tabulate` returns, by network (an imbalance factor, say).
        families: which configurations count.
        low, high: bits a weight, on average, between which they count.
        draws: bootstrap samples of clusters.

    Raises:
        InputError: no configuration is left.
    """

    def __init__(
        self,
        tables: Mapping[Hashable, xr.Dataset],
        families: Sequence[str] = ("random",),
        low: float = 0.0,
        high: float = float("inf"),
        draws: int = 200,
    ) -> None:
        self.tables, self.families = dict(tables), tuple(families)
        self.scorers = {
            network: Scorer(table, rows_of(table, families, low, high), draws)
            for network, table in tables.items()
        }

    @property
    def proxies(self) -> list[Proxy]:
        """Those whose measurements every network has."""
        views = [scorer.views[half] for scorer in self.scorers.values() for half in HALVES]
        return [proxy for proxy in PROXIES.values() if all(proxy.measured(v) for v in views)]

    def score(self, function: Function) -> Scores:
        """Rank correlation of a proxy with every true loss, network by network."""
        return {network: scorer.spearman(function) for network, scorer in self.scorers.items()}

    def table(self) -> pd.DataFrame:
        """A row a proxy, network (and ``all``: the mean) and target, with an interval at 95 %."""
        rows: list[tuple[object, ...]] = []
        for proxy in self.proxies:
            rows += _rows(proxy.name, proxy.needs, self.score(proxy.function))
        if len(self.tables) > 1:
            rows += _rows(MIXTURE, "other networks", self.mixtures())
        return pd.DataFrame(rows, columns=COLUMNS)

    def mean(self, function: Function) -> dict[str, Score]:
        """The mean over networks by target; differences of scores are paired, draw by draw."""
        each = self.score(function).values()
        return {target: Score.mean([scores[target] for scores in each]) for target in TARGETS}

    def kendall(self, function: Function, target: str = "tail") -> float:
        """Kendall's tau-b with a true loss, the mean over networks and halves."""
        return float(np.mean([s.kendall(function, target) for s in self.scorers.values()]))

    def mixtures(self) -> Scores:
        """The mixture for each target, fitted on all networks but the one it is scored on."""
        found: dict[Hashable, dict[str, Score]] = {}
        for network, scorer in self.scorers.items():
            others = [table for other, table in self.tables.items() if other != network]
            found[network] = {}
            for target in TARGETS:
                function = mixture(others, self.families, target)
                found[network] |= scorer.spearman(function, [target])
        return found

    def references(self) -> pd.DataFrame:
        """What needs every configuration evaluated, to compare with: the truth on the other
        images, a regression on configurations, and the share that each configuration calls tail."""
        every = self.scorers.items()
        noise = {n: {t: s.agreement(t) for t in TARGETS} for n, s in every}
        additive = {n: {t: _additive(s, t) for t in TARGETS} for n, s in every}
        called = {n: s.correlations(_called(s), TARGETS) for n, s in every}
        named = {OTHER_HALF: noise, ADDITIVE: additive, CALLED: called}
        rows = [row for name, scores in named.items() for row in _rows(name, "all", scores)]
        return pd.DataFrame(rows, columns=COLUMNS)

    def regret(
        self, names: Collection[str], limits: Sequence[float], target: str = "tail"
    ) -> pd.DataFrame:
        """Points lost beyond an exact search by picking with a proxy, the mean over networks.

        Args:
            names: of proxies.
            limits: most bits a weight.
        """
        rows = []
        for proxy in (proxy for proxy in self.proxies if proxy.name in names):
            for most in limits:
                each = [s.regret(proxy.function, most, target) for s in self.scorers.values()]
                found = Score.mean(each)
                rows.append((proxy.name, most, found.value, *found.interval))
        return pd.DataFrame(rows, columns=["proxy", "mean_bits", "regret", "low", "high"])


def _additive(scorer: Scorer, target: str) -> Score:
    predicted = {half: additive_fit(scorer.table, scorer.rows, half, target) for half in HALVES}
    return scorer.correlations(predicted, [target])[target]


def _called(scorer: Scorer) -> dict[str, np.ndarray]:
    """How far each configuration lowers the share called tail, on each half."""
    floating = int(one_layer(scorer.table.widths).sel(bits=32)[0])
    found = {}
    for half in HALVES:
        called = scorer.table.called_tail.sel(half=half).values
        found[half] = (called[floating] - called[scorer.rows]).astype(float)
    return found


def _rows(name: str, needs: str, scores: Scores) -> list[tuple[object, ...]]:
    found: list[tuple[object, ...]] = []
    for target in TARGETS:
        by_network = {network: each[target] for network, each in scores.items()}
        by_network[ALL] = Score.mean(list(by_network.values()))
        for network, score in by_network.items():
            found.append((name, needs, network, target, score.value, *score.interval))
    return found
