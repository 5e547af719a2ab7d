"""Bit-widths of layers: the post's ranking, a greedy descent, and the exact optimum.

:func:`allocate` takes what :func:`ltqlib.sensitivity` measured with one layer alone and returns
:class:`Widths` that :func:`ltqlib.evaluate` takes; :func:`random_widths` is its null,
:func:`pareto_front` traces loss against a cost. Below them :func:`solve` is exact for any
:class:`Objective` over classes within any number of :class:`Limit`. No torch here.
"""

from ltqlib.allocation.choosing import allocate, random_widths
from ltqlib.allocation.costs import Limit, average_weight_bits, bops, model_size
from ltqlib.allocation.curve import curve_losses
from ltqlib.allocation.losses import (
    InfeasibleError,
    at_widths,
    class_losses,
    groups_of,
    predicted_losses,
)
from ltqlib.allocation.objective import Objective, cvar
from ltqlib.allocation.pareto import pareto_front
from ltqlib.allocation.ranking import greedy, rank, split
from ltqlib.allocation.solver import Allocation, smallest_cost, solve
from ltqlib.allocation.widths import Widths

__all__ = [
    "Allocation",
    "InfeasibleError",
    "Limit",
    "Objective",
    "Widths",
    "allocate",
    "at_widths",
    "average_weight_bits",
    "bops",
    "class_losses",
    "curve_losses",
    "cvar",
    "greedy",
    "groups_of",
    "model_size",
    "pareto_front",
    "predicted_losses",
    "random_widths",
    "rank",
    "smallest_cost",
    "solve",
    "split",
]
