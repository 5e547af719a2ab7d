"""The figures of the results: one function a figure, from estimates or outcomes to a Figure.

Filled marks are this book's measurements with 95 % intervals; hollow marks are the post's.
"""

from ltqlib.paper.plots.accuracy import decoupling_bars, over_imbalance
from ltqlib.paper.plots.bits import bits_curve, by_seed, head_tail_curves, two_losses
from ltqlib.paper.plots.layers import class_accuracy, mixed_gains, rank_changes, sensitivity_bars

__all__ = [
    "bits_curve",
    "by_seed",
    "class_accuracy",
    "decoupling_bars",
    "head_tail_curves",
    "mixed_gains",
    "over_imbalance",
    "rank_changes",
    "sensitivity_bars",
    "two_losses",
]
