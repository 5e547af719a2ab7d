"""LTQ-Bench: thousands of bit configurations, what they cost every class, and what predicts it.

:func:`draw` lists them, :func:`ltqlib.evaluate` runs them once, :func:`tabulate` counts. A
:func:`proxy` sees what was measured on one half of the test images (:func:`seen`) and says a number
for each configuration; a :class:`Leaderboard` scores it by the true losses on the other half, both
the plain loss of the tail and the tail lost at equal head accuracy. No torch here.
"""

from ltqlib.bench.configurations import FAMILIES, PLAN, Plan, draw
from ltqlib.bench.fitted import additive_fit, mixture
from ltqlib.bench.leaderboard import Leaderboard
from ltqlib.bench.proxies import PROXIES, Proxy, added, added_pairs, proxy
from ltqlib.bench.scoring import Score, Scorer, multiplicities
from ltqlib.bench.table import (
    TARGETS,
    group_mean,
    lost,
    mean_bits,
    one_layer,
    rows_of,
    seen,
    tabulate,
    with_metrics,
)

__all__ = [
    "FAMILIES",
    "PLAN",
    "PROXIES",
    "TARGETS",
    "Leaderboard",
    "Plan",
    "Proxy",
    "Score",
    "Scorer",
    "added",
    "added_pairs",
    "additive_fit",
    "draw",
    "group_mean",
    "lost",
    "mean_bits",
    "mixture",
    "multiplicities",
    "one_layer",
    "proxy",
    "rows_of",
    "seen",
    "tabulate",
    "with_metrics",
]
