"""Do losses of layers add up? Pairs of layers rounded together, against each of the two alone.

The interaction of layers i and j at widths a and b is (Deng et al., 2023, CLADO, equation 5)::

    e = L(i at a, j at b) - L(i at a) - L(j at b) + L(none)

where L is a mean over images: of wrong predictions, in points, or of the cross-entropy, in nats.
Above 0 the two lose more together than the sum of what each loses alone; at 0 they add up.
Every value is kept by class and half of the test images, (..., classes, 2): ``select``, ``report``.
No torch here.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ltqlib.errors import InputError
from ltqlib.records import unpack_array

FLOAT = 32  # the width of a layer that is not quantized

Values = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def configurations(layers: int, widths: Sequence[int]) -> Ints:
    """Weight bits of every model that is measured, (models, layers).

    In order: float; each layer alone, at each width; each pair of layers, at each pair of widths.

    Raises:
        InputError: there are fewer than two layers, or no width.
    """
    if layers < 2 or not widths:
        raise InputError(f"{layers} layers at {len(widths)} widths have no pair: give 2 and 1")
    singles = list(itertools.product(range(layers), widths))
    rows = np.full((1 + len(singles), layers), FLOAT, dtype=np.int64)
    for row, (layer, bits) in zip(rows[1:], singles, strict=True):
        row[layer] = bits
    first, second = partners(layers, len(widths))
    # a layer that stays float has the larger width
    return np.concatenate([rows, np.minimum(rows[1 + first], rows[1 + second])])


def partners(layers: int, widths: int) -> tuple[Ints, Ints]:
    """Of each pair, the positions of its two parts among the singles: (pairs,) and (pairs,)."""
    found = [
        (i * widths + a, j * widths + b)
        for i, j in itertools.combinations(range(layers), 2)
        for a, b in itertools.product(range(widths), repeat=2)
    ]
    first, second = np.array(found, dtype=np.int64).T
    return first, second


def measure(outcomes: npt.NDArray, layers: int, widths: int) -> npt.NDArray:
    """Interaction of each pair on each image, (pairs, N), of ``outcomes`` (models, N).

    Models in the order of :func:`configurations`.
    """
    first, second = partners(layers, widths)
    singles, both = outcomes[1 : 1 + layers * widths], outcomes[1 + layers * widths :]
    return both - singles[first] - singles[second] + outcomes[0]


@dataclass(frozen=True, eq=False)
class Pairs:
    """What pairs of layers lose, by class and half: of accuracy in points, or of the loss in nats.

    Args:
        layers: names, in order of execution.
        widths: weight bits.
        floating: the mean of the float model, (classes, 2): wrong in percent, or nats.
        singles: what each layer alone adds to it, (layers, widths, classes, 2).
        interactions: of each pair i < j, (pairs, widths of i, widths of j, classes, 2).
        variances: of the interactions, over draws of the test images, in the unit squared.
    """

    layers: tuple[str, ...]
    widths: tuple[int, ...]
    floating: Values
    singles: Values
    interactions: Values
    variances: Values

    @classmethod
    def of_accuracy(cls, payload: dict[str, Any], widths: Sequence[int]) -> "Pairs":
        """From the payload of the step ``pairs`` and its widths; in points."""
        found, layers = payload["accuracy"], payload["layers"]
        images = np.array(found["images"], dtype=float)
        cells = (-1, *images.shape)
        correct = unpack_array(found["correct"], "<u2").reshape(cells)
        wrong = 100 * (1 - correct / images)
        mean = measure(wrong, len(layers), len(widths)) / 100
        squares = unpack_array(found["squares"], "<u2").reshape(cells) / images
        variances = 1e4 * (squares - mean**2) / (images - 1)
        singles = wrong[1 : 1 + len(layers) * len(widths)] - wrong[0]
        return cls._shaped(layers, widths, wrong[0], singles, 100 * mean, variances)

    @classmethod
    def of_loss(cls, payload: dict[str, Any], widths: Sequence[int]) -> "Pairs":
        """From the payload of the step ``pairs`` and its widths; in nats."""
        found = payload["loss"]
        cells = (-1, *np.shape(found["images"]))
        floating, singles, mean, errors = (
            unpack_array(found[name], "<f2").reshape(cells).astype(np.float64)
            for name in ("float", "singles", "interactions", "errors")
        )
        return cls._shaped(payload["layers"], widths, floating[0], singles, mean, errors**2)

    @classmethod
    def _shaped(
        cls, layers: Sequence[str], widths: Sequence[int], floating: Values, singles: Values,
        interactions: Values, variances: Values,
    ) -> "Pairs":  # fmt: skip
        cells, by_width = floating.shape, (len(widths), len(widths))
        return cls(
            tuple(layers), tuple(widths), floating,
            singles.reshape(len(layers), len(widths), *cells),
            interactions.reshape(-1, *by_width, *cells), variances.reshape(-1, *by_width, *cells),
        )  # fmt: skip
