"""The figures of the results: one function a figure, from estimates or outcomes to a Figure.

Filled marks are this book's measurements with 95 % intervals; hollow marks are the post's.
"""

from ltqlib.paper.plots.accuracy import decoupling_bars, over_imbalance
from ltqlib.paper.plots.bits import bits_curve, by_seed, head_tail_curves, two_losses
from ltqlib.paper.plots.choice import candidates
from ltqlib.paper.plots.claims import claims_forest
from ltqlib.paper.plots.counts import class_counts
from ltqlib.paper.plots.identity import over_frequency
from ltqlib.paper.plots.layers import (
    class_accuracy,
    mixed_gains,
    rank_changes,
    ranking_gains,
    sensitivity_bars,
)
from ltqlib.paper.plots.length import kept_share, over_length, rounding_and_noise
from ltqlib.paper.plots.metrics import rank_correlations
from ltqlib.paper.plots.remedies import remedies
from ltqlib.paper.plots.repair import before_after, repair_sizes
from ltqlib.paper.plots.shipping import shipping

__all__ = [
    "before_after",
    "bits_curve",
    "by_seed",
    "candidates",
    "claims_forest",
    "class_accuracy",
    "class_counts",
    "decoupling_bars",
    "head_tail_curves",
    "kept_share",
    "mixed_gains",
    "over_frequency",
    "over_imbalance",
    "over_length",
    "rank_changes",
    "rank_correlations",
    "ranking_gains",
    "remedies",
    "repair_sizes",
    "rounding_and_noise",
    "sensitivity_bars",
    "shipping",
    "two_losses",
]
