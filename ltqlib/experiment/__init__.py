"""The calls of a page: train, decouple, evaluate, sensitivity. They remember.

What is published or kept is read, without torch; what is not is computed by the rooms of science,
which know nothing of the store.
"""

from ltqlib.experiment.benchmark import benchmark
from ltqlib.experiment.evaluate import evaluate, logits, sensitivity
from ltqlib.experiment.importance import metrics
from ltqlib.experiment.inspection import curvature, traits
from ltqlib.experiment.networks import Networks, decouple, train
from ltqlib.experiment.repaired import repaired

__all__ = [
    "Networks",
    "benchmark",
    "curvature",
    "decouple",
    "evaluate",
    "logits",
    "metrics",
    "repaired",
    "sensitivity",
    "train",
    "traits",
]
