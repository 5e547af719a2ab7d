"""LTQ-Bench: hundreds of bit configurations, what they cost every class, and what predicts it.

:func:`draw` lists them, ``ltqlib.experiment.benchmark`` runs them once, :func:`tabulate` counts. A
:func:`proxy` sees what was measured on one half of the test images (:func:`seen`) and says a number
for each configuration; the :func:`leaderboard` scores it by the true losses on the other half, both
the plain loss of the tail and the tail lost at equal head accuracy. :func:`layer_losses` and
:func:`agreement` do the same for one layer at a time. No torch here.
"""

from ltqlib.bench.configurations import PLAN, Plan, draw
from ltqlib.bench.leaderboard import leaderboard
from ltqlib.bench.proxies import PROXIES, Proxy, added, proxy
from ltqlib.bench.scoring import agreement, differences, layer_losses, summary
from ltqlib.bench.table import TARGETS, group_mean, lost, one_layer, seen, tabulate, with_metrics

__all__ = [
    "PLAN",
    "PROXIES",
    "TARGETS",
    "Plan",
    "Proxy",
    "added",
    "agreement",
    "differences",
    "draw",
    "group_mean",
    "layer_losses",
    "leaderboard",
    "lost",
    "one_layer",
    "proxy",
    "seen",
    "summary",
    "tabulate",
    "with_metrics",
]
