"""One layer at a time: what the record of step ``sensitivity`` says. No torch here."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ltqlib.first.mpq import Sensitivity
from ltqlib.first.records import unpack

Predictions = npt.NDArray[np.uint8]
Payload = Mapping[str, Any]


def reference(payload: Payload) -> Predictions:
    """Predicted classes (N,) of the network with every layer in float."""
    return unpack(payload["reference"])


def one_layer(payload: Payload, bits: int) -> dict[str, Predictions]:
    """Predicted classes (N,) with one layer's weights at ``bits``, by layer, in order."""
    floating = reference(payload)
    return {
        layer: unpack(by_width[str(bits)]) ^ floating
        for layer, by_width in payload["changes"].items()
    }


def accuracy_drops(
    payload: Payload, labels: npt.NDArray[np.integer], half: npt.NDArray[np.bool_]
) -> Sensitivity:
    """Points of accuracy that each class loses with one layer quantized, on some test images.

    Args:
        labels: truth of all test images (N,); every class is there.
        half: which of them count (N,).

    Raises:
        InputError: a class has no image that counts.
    """
    floating = reference(payload)
    changed = {
        layer: {int(width): (unpack(values) ^ floating)[half] for width, values in by_width.items()}
        for layer, by_width in payload["changes"].items()
    }
    classes = int(labels.max()) + 1
    return Sensitivity.from_predictions(floating[half], changed, labels[half], classes)
