"""Long-tailed data: sources behind one interface, groups of classes, halves, batches.

``load_data`` gives a :class:`LongTail`, whose ``test`` is a :class:`Split`; ``Batches`` assembles
training batches on the device. Nothing here imports torch before batches are made.
"""

from ltqlib.data.batches import Batches, in_order, sampling_weights
from ltqlib.data.groups import head_and_tail, majority_and_rest, make_groups, shot_groups
from ltqlib.data.halves import HALVES, half_mask
from ltqlib.data.load import LongTail, load_data
from ltqlib.data.longtail import CLASS_ORDERS, long_tailed_counts, nested_subset
from ltqlib.data.source import SIZE, Images, Labels, Source, fingerprint
from ltqlib.data.split import Split

__all__ = [
    "CLASS_ORDERS",
    "HALVES",
    "SIZE",
    "Batches",
    "Images",
    "Labels",
    "LongTail",
    "Source",
    "Split",
    "fingerprint",
    "half_mask",
    "head_and_tail",
    "in_order",
    "load_data",
    "long_tailed_counts",
    "majority_and_rest",
    "make_groups",
    "nested_subset",
    "sampling_weights",
    "shot_groups",
]
