"""From outcomes of each image to numbers with intervals: NumPy, SciPy, pandas, xarray; no torch."""

from ltqlib.statistics.curve import at_equal_head, equal_head, head_tail_curve
from ltqlib.statistics.estimate import Estimates, estimate
from ltqlib.statistics.intervals import class_weights, crossed_interval

__all__ = [
    "Estimates",
    "at_equal_head",
    "class_weights",
    "crossed_interval",
    "equal_head",
    "estimate",
    "head_tail_curve",
]
