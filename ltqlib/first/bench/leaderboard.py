"""The leaderboard: every proxy on every model, and what to compare them with."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pandas as pd

from ltqlib.first.bench.columns import Bench
from ltqlib.first.bench.fitted import additive_fit, mixture
from ltqlib.first.bench.proxies import PROXIES, Function, Proxy
from ltqlib.first.bench.scoring import Score, Scorer
from ltqlib.first.records import HALVES

GROUPS = ("tail", "norm")
ALL = "all"  # in place of an imbalance factor: the mean over them
COLUMNS = ["proxy", "needs", "factor", "group", "spearman", "low", "high"]
MIXTURE = "mixture of ranks"
ADDITIVE = "points a layer and width, fitted to half of the configurations"
OTHER_HALF = "true loss on the other images"

Scores = dict[float, list[Score]]  # by imbalance factor, of each of GROUPS


class Leaderboard:
    """Scores of proxies on the benchmarks of several models.

    Args:
        benches: by imbalance factor.
        families: which configurations count.
        low, high: bits a weight, on average, between which they count.
        draws: bootstrap samples of clusters.

    Raises:
        InputError: no configuration is left.
    """

    def __init__(
        self,
        benches: Mapping[float, Bench],
        families: Sequence[str] = ("random",),
        low: float = 0.0,
        high: float = float("inf"),
        draws: int = 200,
    ) -> None:
        self.benches, self.families = dict(benches), tuple(families)
        self.scorers = {
            factor: Scorer(bench, bench.rows(families, low, high), draws)
            for factor, bench in benches.items()
        }

    @property
    def proxies(self) -> list[Proxy]:
        """Those whose measurements every model has."""
        views = [scorer.views[half] for scorer in self.scorers.values() for half in HALVES]
        return [proxy for proxy in PROXIES if all(proxy.measured(view) for view in views)]

    def score(self, function: Function) -> Scores:
        """Rank correlation of a proxy with the true loss of each group, model by model."""
        return {factor: scorer.spearman(function) for factor, scorer in self.scorers.items()}

    def entry(self, name: str, function: Function, needs: str = "") -> pd.DataFrame:
        """The rows of :meth:`table` for a proxy of one's own."""
        return pd.DataFrame(_rows(name, needs, self.score(function)), columns=COLUMNS)

    def table(self) -> pd.DataFrame:
        """A row a proxy, factor (and ``all``: the mean) and group, with an interval at 95 %."""
        rows: list[tuple[object, ...]] = []
        for proxy in self.proxies:
            rows += _rows(proxy.name, proxy.needs, self.score(proxy.function))
        if len(self.benches) > 1:
            rows += _rows(MIXTURE, "other models", self.mixtures())
        return pd.DataFrame(rows, columns=COLUMNS)

    def mean(self, function: Function) -> dict[str, Score]:
        """The mean over models by group; differences of such scores are paired, draw by draw."""
        each = list(zip(*self.score(function).values(), strict=True))
        return {group: Score.mean(of) for group, of in zip(GROUPS, each, strict=True)}

    def kendall(self, function: Function, group: str = "tail") -> float:
        """Kendall's tau-b with the true loss, the mean over models and halves."""
        return float(np.mean([s.kendall(function, group) for s in self.scorers.values()]))

    def mixtures(self) -> Scores:
        """The mixture for each group, fitted on all models but the one that it is scored on."""
        found: Scores = {}
        for factor, scorer in self.scorers.items():
            others = [bench for other, bench in self.benches.items() if other != factor]
            found[factor] = [
                scorer.spearman(mixture(others, self.families, group), [group])[0]
                for group in GROUPS
            ]
        return found

    def references(self) -> pd.DataFrame:
        """To compare with: the truth on the other images, and a regression on configurations."""
        noise = {f: [scorer.agreement(g) for g in GROUPS] for f, scorer in self.scorers.items()}
        additive = {
            factor: [_additive(scorer, group) for group in GROUPS]
            for factor, scorer in self.scorers.items()
        }
        rows = _rows(OTHER_HALF, "all", noise) + _rows(ADDITIVE, "all", additive)
        return pd.DataFrame(rows, columns=COLUMNS)

    def regret(
        self, names: Collection[str], budgets: Sequence[float], group: str = "tail"
    ) -> pd.DataFrame:
        """Points lost beyond an exact search by picking with a proxy, the mean over models."""
        rows = []
        for proxy in (proxy for proxy in self.proxies if proxy.name in names):
            for budget in budgets:
                found = Score.mean(
                    [s.regret(proxy.function, budget, group) for s in self.scorers.values()]
                )
                rows.append((proxy.name, budget, found.value, *found.interval))
        return pd.DataFrame(rows, columns=["proxy", "budget", "regret", "low", "high"])


def _additive(scorer: Scorer, group: str) -> Score:
    predicted = {half: additive_fit(scorer.bench, scorer.rows, half, group) for half in HALVES}
    return scorer.correlations(predicted, [group])[0]


def _rows(name: str, needs: str, scores: Scores) -> list[tuple[object, ...]]:
    found: list[tuple[object, ...]] = []
    for place, group in enumerate(GROUPS):
        by_factor: dict[object, Score] = {factor: each[place] for factor, each in scores.items()}
        by_factor[ALL] = Score.mean(list(by_factor.values()))
        for factor, score in by_factor.items():
            found.append((name, needs, factor, group, score.value, *score.interval))
    return found
