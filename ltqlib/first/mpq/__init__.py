"""Mixed precision: what an allocation of widths costs, rankings of layers, and the exact optimum.

``ranking`` and ``costs`` hold the post's allocation; ``allocate`` solves for any objective over
classes under any number of budgets, ``allocate_quadratic`` with interactions of pairs of layers,
and ``pareto_front`` traces loss against a cost.
"""

from ltqlib.first.mpq.costs import Budget, average_weight_bits, bops, model_size
from ltqlib.first.mpq.objective import Objective, cvar
from ltqlib.first.mpq.pareto import pareto_front
from ltqlib.first.mpq.problem import InfeasibleError, Sensitivity
from ltqlib.first.mpq.quadratic import Quadratic, allocate_quadratic
from ltqlib.first.mpq.ranking import greedy, random_rankings, rank_by_drop, split_by_budget
from ltqlib.first.mpq.solver import Allocation, allocate, smallest_cost

__all__ = [
    "Allocation",
    "Budget",
    "InfeasibleError",
    "Objective",
    "Quadratic",
    "Sensitivity",
    "allocate",
    "allocate_quadratic",
    "average_weight_bits",
    "bops",
    "cvar",
    "greedy",
    "model_size",
    "pareto_front",
    "random_rankings",
    "rank_by_drop",
    "smallest_cost",
    "split_by_budget",
]
