"""What each step of a run computes: the payloads of the records, one function a step."""

from ltqlib.first.steps.allocating import allocate
from ltqlib.first.steps.benching import bench
from ltqlib.first.steps.common import device_words
from ltqlib.first.steps.importances import importance
from ltqlib.first.steps.pairing import pairs, quadratic
from ltqlib.first.steps.quantizing import mpq, ptq, schemes, sensitivity
from ltqlib.first.steps.training import data, decouple, train

__all__ = [
    "allocate",
    "bench",
    "data",
    "decouple",
    "device_words",
    "importance",
    "mpq",
    "pairs",
    "ptq",
    "quadratic",
    "schemes",
    "sensitivity",
    "train",
]
