"""How bits are chosen: a score of layers, an objective over classes, and a way to solve."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ltqlib.first import mpq
from ltqlib.first.errors import InputError
from ltqlib.first.mpq import Budget, Objective, Sensitivity
from ltqlib.first.records import Record, unpack_numbers

ACT_BITS = 8  # of every layer, in the count of bit operations: weights alone differ
SOLVERS = ("exact", "greedy", "ranking")
CONSTRAINED = "constrained"  # least mean loss such that no class loses much more than it must
IMPORTANCES = ("loss", "kl", "fit", "hawq")  # scores that add over layers, by class and width

Costs = Mapping[str, Mapping[str, int]]
Widths = tuple[int, ...]


@dataclass(frozen=True)
class Chooser:
    """Everything that a choice may know: scores measured on one half of the images, and costs.

    Args:
        tables: ``{score: cost of each layer and width, by class}``.
        costs: ``{layer: {"parameters", "macs"}}``.
        groups: class labels of norm, head and tail.
        slack: of the constrained choice, in the unit of its score.
        high, low: the two widths of a ranking.
    """

    tables: dict[str, Sensitivity]
    costs: Costs
    groups: dict[str, list[int]]
    slack: float
    high: int
    low: int

    def choose(
        self, solver: str, score: str, objective: str, limits: Mapping[str, float]
    ) -> Widths | None:
        """Weight bits of the layers in order; None where the solver takes no such limits.

        Args:
            solver: ``exact``; ``greedy``, AIMET's descent; ``ranking``, the post's two widths.
            objective: as :meth:`ltqlib.mpq.Objective.parse` reads it, or ``constrained``; of a
                ranking the group by whose mean the layers are ranked.
            limits: ``size``, ``bops`` or both, as the width of the uniform network that costs
                as much.

        Raises:
            InputError: an unknown solver, score, objective or limit.
        """
        if solver not in SOLVERS or score not in self.tables:
            raise InputError(
                f"cannot choose by {solver!r} and {score!r}: the solvers are {', '.join(SOLVERS)}, "
                f"the scores {', '.join(self.tables)}"
            )
        table, budgets = self.tables[score], self.budgets(limits)
        if solver == "exact":
            return tuple(self._exact(table, objective, budgets).widths.values())
        if len(limits) > 1:
            return None
        if solver == "ranking":
            return self._ranked(table, self.groups[objective], limits)
        parsed = Objective.parse(objective, self.groups)
        return tuple(mpq.greedy(table, budgets[0], parsed).values())

    def budgets(self, limits: Mapping[str, float]) -> list[Budget]:
        """The limits as budgets over the widths of the scores."""
        widths = next(iter(self.tables.values())).widths
        macs = self._costs("macs")
        act_bits = dict.fromkeys(macs, ACT_BITS)
        found = []
        for kind, limit in limits.items():
            if kind == "size":
                parameters = self._costs("parameters")
                found.append(Budget.average_weight_bits(parameters, widths, limit))
            elif kind == "bops":
                of_uniform = limit * ACT_BITS * sum(macs.values())
                found.append(Budget.bops(act_bits, macs, widths, of_uniform))
            else:
                raise InputError(f"a limit on {kind!r} is unknown: use size or bops")
        return found

    def _costs(self, what: str) -> dict[str, int]:
        return {name: cost[what] for name, cost in self.costs.items()}

    def _exact(
        self, table: Sensitivity, objective: str, budgets: Sequence[Budget]
    ) -> mpq.Allocation:
        if objective != CONSTRAINED:
            return mpq.allocate(table, budgets, Objective.parse(objective, self.groups))
        least = mpq.allocate(table, budgets, Objective.worst()).objective
        most = least + self.slack
        return mpq.allocate(table, budgets, Objective.mean(), max_class_loss=most)

    def _ranked(
        self, table: Sensitivity, group: Sequence[int], limits: Mapping[str, float]
    ) -> Widths:
        """The most sensitive layers at ``low`` bits get ``high`` bits, as long as the limit holds.

        BOPs at fixed activation bits are the average weight bits over multiply-adds.
        """
        drops = table.losses[list(group)].mean(0)[:, table.widths.index(self.low)]
        left = {name: -drop for name, drop in zip(table.layers, drops.tolist(), strict=True)}
        ((kind, limit),) = limits.items()
        counts = self._costs("parameters" if kind == "size" else "macs")
        ranking = mpq.rank_by_drop(left, reference=0.0)
        chosen = mpq.split_by_budget(ranking, counts, limit, self.high, self.low)
        return tuple(chosen.values())

    def shuffled(self, score: str, limits: Mapping[str, float], seed: Sequence[int]) -> Widths:
        """The exact choice for the mean with the layers of the table shuffled: it knows how bits
        are spent, but not on which layer."""
        table = self.tables[score]
        order = np.random.default_rng(seed).permutation(len(table.layers))
        wrong = Sensitivity(table.losses[:, order], table.layers, table.widths, table.classes)
        found = mpq.allocate(wrong, self.budgets(limits), Objective.mean())
        return tuple(found.widths.values())


def importances(record: Record, half: str, classes: Sequence[str]) -> dict[str, Sensitivity]:
    """The scores of step ``importance`` that add over layers, measured on a half.

    A trace below zero, which is the noise of its probes, counts as zero: it would otherwise pay for
    fewer bits.
    """
    payload = record["payload"]
    layers, widths = tuple(payload["layers"]), tuple(payload["bits"])
    tables = {}
    for name in IMPORTANCES:
        values = unpack_numbers(payload["scores"][half][name])
        if name == "hawq":
            values = values.clip(min=0)
        tables[name] = Sensitivity(values, layers, widths, tuple(classes))
    return tables
