"""From outcomes of each image to numbers with intervals: NumPy, SciPy, pandas, xarray; no torch."""

from ltqlib.statistics.curve import head_tail_curve
from ltqlib.statistics.estimate import Estimates, estimate
from ltqlib.statistics.intervals import class_weights, crossed_interval
from ltqlib.statistics.operating import at_best, at_equal_head, equal_head, tail_at_equal_head

__all__ = [
    "Estimates",
    "at_best",
    "at_equal_head",
    "class_weights",
    "crossed_interval",
    "equal_head",
    "estimate",
    "head_tail_curve",
    "tail_at_equal_head",
]
