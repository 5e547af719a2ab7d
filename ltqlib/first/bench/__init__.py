"""LTQ-Bench: thousands of bit configurations, what they cost every class, and what predicts it.

:mod:`configurations` draws them, and the step ``bench`` evaluates them once. :mod:`columns` opens
the record, :mod:`measurements` what other steps measured, :mod:`proxies` and :mod:`fitted` predict
losses, :mod:`scoring` and :mod:`leaderboard` say how well. No torch here.
"""

from ltqlib.first.bench.columns import Bench, Counts, View
from ltqlib.first.bench.configurations import FAMILIES, Configurations, Plan, draw
from ltqlib.first.bench.fitted import additive_fit, mixture
from ltqlib.first.bench.leaderboard import Leaderboard
from ltqlib.first.bench.measurements import of_importance, of_pairs
from ltqlib.first.bench.proxies import PROXIES, Proxy
from ltqlib.first.bench.scoring import Score, Scorer, multiplicities

__all__ = [
    "FAMILIES",
    "PROXIES",
    "Bench",
    "Configurations",
    "Counts",
    "Leaderboard",
    "Plan",
    "Proxy",
    "Score",
    "Scorer",
    "View",
    "additive_fit",
    "draw",
    "mixture",
    "multiplicities",
    "of_importance",
    "of_pairs",
]
