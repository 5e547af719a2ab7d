"""The figures of the results: one function a figure, from tables of evidence to a Figure.

Filled marks are this book's measurements with 95 % intervals; hollow marks are what the post
reports. Diagrams that show no data are in ``diagrams``.
"""

from ltqlib.first.plots.accuracy import (
    accuracy_by_network,
    accuracy_over_imbalance,
    bits_curve,
    class_accuracy,
    class_counts,
    decoupling_bars,
    extra_by_factor,
    extra_by_seed,
    loss_heatmap,
    training_curve,
)
from ltqlib.first.plots.bench import leaderboard, losses_over_proxy
from ltqlib.first.plots.evidence import claims_forest, decomposition, over_frequency
from ltqlib.first.plots.front import front, front_interactive
from ltqlib.first.plots.interactions import interaction_growth, interaction_maps, sum_and_pair
from ltqlib.first.plots.layers import (
    against_random,
    agreement_dots,
    changes_by_method,
    expected_and_found,
    metric_ranks,
    rank_changes,
    sensitivity_bars,
)

__all__ = [
    "accuracy_by_network",
    "accuracy_over_imbalance",
    "against_random",
    "agreement_dots",
    "bits_curve",
    "changes_by_method",
    "claims_forest",
    "class_accuracy",
    "class_counts",
    "decomposition",
    "decoupling_bars",
    "expected_and_found",
    "extra_by_factor",
    "extra_by_seed",
    "front",
    "front_interactive",
    "interaction_growth",
    "interaction_maps",
    "leaderboard",
    "loss_heatmap",
    "losses_over_proxy",
    "metric_ranks",
    "over_frequency",
    "rank_changes",
    "sensitivity_bars",
    "sum_and_pair",
    "training_curve",
]
