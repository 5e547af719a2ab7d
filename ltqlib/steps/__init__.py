"""What each step of a run computes: the payloads of the records, one function a step."""

from ltqlib.steps.allocating import allocate
from ltqlib.steps.benching import bench
from ltqlib.steps.common import device_words
from ltqlib.steps.importances import importance
from ltqlib.steps.pairing import pairs, quadratic
from ltqlib.steps.quantizing import mpq, ptq, schemes, sensitivity
from ltqlib.steps.training import data, decouple, train

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
