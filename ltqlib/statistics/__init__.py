"""From outcomes of each image to numbers with intervals: NumPy, SciPy, pandas, xarray; no torch."""

from ltqlib.statistics.curve import head_tail_curve
from ltqlib.statistics.estimate import Estimates, estimate
from ltqlib.statistics.identity import rarity_and_class
from ltqlib.statistics.intervals import crossed_interval
from ltqlib.statistics.logits import logit_adjustment, outcomes_of
from ltqlib.statistics.losses import at_equal_head_estimate, both_losses
from ltqlib.statistics.operating import at_best, at_equal_head, equal_head, tail_at_equal_head
from ltqlib.statistics.paired import class_means, holm, mcnemar, over_seeds
from ltqlib.statistics.ranks import ranks_differ
from ltqlib.statistics.repair import (
    fit_last_layer,
    match_group_share,
    match_means,
    match_probabilities,
    match_shares,
)
from ltqlib.statistics.repaired import recovered
from ltqlib.statistics.summary import area_under_curve, curve_summary, estimate_each

__all__ = [
    "Estimates",
    "area_under_curve",
    "at_best",
    "at_equal_head",
    "at_equal_head_estimate",
    "both_losses",
    "class_means",
    "crossed_interval",
    "curve_summary",
    "equal_head",
    "estimate",
    "estimate_each",
    "fit_last_layer",
    "head_tail_curve",
    "holm",
    "logit_adjustment",
    "match_group_share",
    "match_means",
    "match_probabilities",
    "match_shares",
    "mcnemar",
    "outcomes_of",
    "over_seeds",
    "ranks_differ",
    "rarity_and_class",
    "recovered",
    "tail_at_equal_head",
]
