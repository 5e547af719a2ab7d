"""What other steps measured of the same model, as tables by half and name that proxies read."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ltqlib.first.bench.columns import Array
from ltqlib.first.errors import InputError
from ltqlib.first.interactions import Pairs
from ltqlib.first.records import HALVES, unpack_numbers

Tables = dict[str, dict[str, Array]]  # by half and name
READERS = {"accuracy_pairs": Pairs.of_accuracy, "loss_pairs": Pairs.of_loss}


def of_importance(payload: Mapping[str, Any], bits: Sequence[int]) -> Tables:
    """The metrics of a record of step ``importance``, under their names there.

    Args:
        bits: widths that the tables must have, in this order.

    Raises:
        InputError: it was measured at other widths.
    """
    if list(payload["bits"]) != list(bits):
        raise InputError(
            f"importance was measured at {payload['bits']} bits, the benchmark reads {list(bits)}: "
            "measure it again"
        )
    return {
        half: {name: unpack_numbers(packed) for name, packed in payload["scores"][half].items()}
        for half in HALVES
    }


def of_pairs(payload: dict[str, Any], measured: Sequence[int], bits: Sequence[int]) -> Tables:
    """What two layers lose beyond the sum, from a record of step ``pairs``.

    ``accuracy_pairs`` in points and ``loss_pairs`` in nats, (classes, pairs, W, W), pairs in the
    order of ``itertools.combinations``; 0 at widths that were not measured.

    Args:
        measured: the widths of the record.
        bits: the widths of the tables.
    """
    found: Tables = {half: {} for half in HALVES}
    at = [list(bits).index(width) for width in measured]
    for name, read in READERS.items():
        both = read(payload, measured).interactions
        for number, half in enumerate(HALVES):
            values = np.moveaxis(both[..., number], 3, 0)
            table = np.zeros((*values.shape[:2], len(bits), len(bits)))
            table[:, :, np.array(at)[:, None], at] = values
            found[half][name] = table
    return found
