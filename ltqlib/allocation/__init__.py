"""Bit-widths of layers: the post's ranking, and the exact optimum.

:func:`allocate` takes what :func:`ltqlib.sensitivity` measured with one layer alone and returns
:class:`Widths` that :func:`ltqlib.evaluate` takes; :func:`random_widths` is its null. Below them
:func:`solve` is exact for any :class:`Objective` over classes within any number of :class:`Limit`.
No torch here.
"""

from ltqlib.allocation.choosing import allocate, random_widths
from ltqlib.allocation.costs import Limit, average_weight_bits, bops, model_size
from ltqlib.allocation.curve import curve_losses
from ltqlib.allocation.losses import InfeasibleError, at_widths, class_losses, groups_of
from ltqlib.allocation.objective import Objective, cvar
from ltqlib.allocation.ranking import rank, split
from ltqlib.allocation.solver import solve
from ltqlib.allocation.widths import Widths

__all__ = [
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
    "groups_of",
    "model_size",
    "random_widths",
    "rank",
    "solve",
    "split",
]
