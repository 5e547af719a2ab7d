"""Do losses of layers add up? Pairs of layers rounded together, against each of the two alone.

The interaction of layers i and j at widths a and b is (Deng et al., 2025, CLADO)::

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
import pandas as pd
from scipy import special, stats

from ltqlib.first import metrics
from ltqlib.first.errors import InputError
from ltqlib.first.mpq import Quadratic, Sensitivity
from ltqlib.first.records import HALVES, unpack_array

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

    def model(self, half: int, free: int, shrunk: bool = False) -> Quadratic:
        """The quadratic model as one half of the images measures it (0 selects, 1 reports).

        Args:
            free: a width that is taken to cost nothing, alone or in a pair.
            shrunk: interactions times the share of their mean square that is no noise of the
                images, for each class and pair of widths (the empirical Bayes estimate).
        """
        found = self.interactions[..., half]
        if shrunk:
            square, noise = (found**2).mean(0), self.variances[..., half].mean(0)
            found = found * np.clip(1 - noise / np.where(square > 0, square, 1), 0, 1)
        layers, widths, classes = self.singles.shape[:3]
        singles = np.zeros((classes, layers, 1 + widths))
        singles[..., 1:] = np.moveaxis(self.singles[..., half], 2, 0)
        both = np.zeros((classes, len(found), 1 + widths, 1 + widths))
        both[..., 1:, 1:] = np.moveaxis(found, 3, 0)
        names = tuple(str(label) for label in range(classes))
        return Quadratic(Sensitivity(singles, self.layers, (free, *self.widths), names), both)


def pair_table(pairs: Pairs, members: Sequence[int]) -> pd.DataFrame:
    """One row a pair of layers and of widths, for a group of classes, equally weighted.

    Columns: ``first``, ``second`` (layers), ``bits_first``, ``bits_second``, ``distance`` (layers
    from one to the other); ``one`` and ``other``, what each loses alone; ``interaction`` and its
    standard error ``error`` over images; ``both``, what the pair loses. Losses also by half, as
    ``one_select``, ``one_report`` and so on. Units of ``pairs``.
    """
    first, second = partners(len(pairs.layers), len(pairs.widths))
    at = [part // len(pairs.widths) for part in (first, second)]
    names = np.array(pairs.layers)
    bits = [np.array(pairs.widths)[part % len(pairs.widths)] for part in (first, second)]
    cells = pairs.floating.shape
    singles = pairs.singles.reshape(-1, *cells)[:, members].mean(1)  # (singles, halves)
    found = pairs.interactions.reshape(-1, *cells)[:, members].mean(1)
    variances = pairs.variances.reshape(-1, *cells)[:, members].sum(1) / len(members) ** 2
    columns = {"one": singles[first], "other": singles[second], "interaction": found}
    columns["both"] = columns["one"] + columns["other"] + found
    table = pd.DataFrame(
        {"first": names[at[0]], "second": names[at[1]], "distance": at[1] - at[0],
         "bits_first": bits[0], "bits_second": bits[1]}
    )  # fmt: skip
    for name, values in columns.items():
        table[name] = values.mean(1)
        for number, half in enumerate(HALVES):
            table[f"{name}_{half}"] = values[:, number]
    return table.assign(error=np.sqrt(variances.sum(1)) / 2)


def tested(table: pd.DataFrame) -> pd.DataFrame:
    """With the columns ``p`` (two-sided, of "they add up") and ``holm``, adjusted over all rows."""
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(table["interaction"] == 0, 0, table["interaction"].abs() / table["error"])
    p = 2 * special.ndtr(-z)
    return table.assign(p=p, holm=metrics.holm(p.tolist()))


def reliability(table: pd.DataFrame) -> float:
    """Correlation of the interactions as the two halves of the images measure them."""
    return float(np.corrcoef(table["interaction_select"], table["interaction_report"])[0, 1])


def additivity(table: pd.DataFrame) -> dict[str, float]:
    """How much of what distinguishes pairs the sum of the single losses explains.

    ``share``: 1 - var(e) / var(both), over pairs. Sampled images alone make interactions e vary;
    the covariance of the two halves, whose noise is independent, leaves that out: ``true_share`` is
    1 - cov(e_select, e_report) / cov(both_select, both_report), and ``true_size`` the standard
    deviation of the interactions, likewise (0 where noise makes the covariance negative). What
    all pairs have in common is not in it: see :func:`mean_interaction`.
    """

    def shared(name: str) -> float:
        return float(np.cov(table[f"{name}_select"], table[f"{name}_report"])[0, 1])

    return {
        "share": 1 - float(table["interaction"].var() / table["both"].var()),
        "true_share": 1 - shared("interaction") / shared("both"),
        "true_size": float(np.sqrt(max(shared("interaction"), 0.0))),
        "spearman": _spearman(table["one"] + table["other"], table["both"]),
    }


def _spearman(first: pd.Series, second: pd.Series) -> float:
    return metrics.spearman(first.tolist(), second.tolist())


def saturation(table: pd.DataFrame) -> dict[str, float]:
    """Rank correlations of the interactions with what the layers lose alone, and their distance.

    A single loss and an interaction on the same images share their noise, with opposite signs:
    one half's losses are therefore held against the other half's interactions, both ways.
    """
    found: dict[str, list[float]] = {"sum": [], "product": [], "distance": []}
    for one, other in (HALVES, HALVES[::-1]):
        first, second = table[f"one_{one}"], table[f"other_{one}"]
        outcome = table[f"interaction_{other}"]
        found["sum"].append(_spearman(first + second, outcome))
        found["product"].append(_spearman(first * second, outcome))
        found["distance"].append(_spearman(table["distance"], outcome))
    return {name: float(np.mean(values)) for name, values in found.items()}


def rules(table: pd.DataFrame, room: float) -> dict[str, float]:
    """Errors of rules that predict what pairs lose from single losses on the other half.

    ``sum``; ``survival``, where each layer leaves a share of what is right, ``x + y - x y / room``;
    and ``largest``, where the smaller loss is hidden by the larger. Standard deviation of the
    error over pairs: an offset between the halves, which all pairs share, is not counted.

    Args:
        room: accuracy of the float model in points, all that can be lost.
    """
    errors: dict[str, list[float]] = {}
    for one, other in (HALVES, HALVES[::-1]):
        x, y, both = table[f"one_{one}"], table[f"other_{one}"], table[f"both_{other}"]
        predicted = {"sum": x + y, "survival": x + y - x * y / room, "largest": np.maximum(x, y)}
        for name, values in predicted.items():
            errors.setdefault(name, []).append(float((both - values).var()))
    return {name: float(np.sqrt(np.mean(values))) for name, values in errors.items()}


def mean_interaction(
    pairs: Pairs, weights: npt.ArrayLike, chosen: npt.ArrayLike | None = None, level: float = 0.95
) -> tuple[float, float, float]:
    """Mean over pairs of a weighted sum over classes, and its interval over test images.

    Pairs share images, so their errors are not independent. The two halves are: for each class
    half their difference, squared, estimates the variance of the mean, with a degree of freedom.

    Args:
        weights: of the classes, (classes,), as :func:`ltqlib.first.crossed.class_weights` gives them.
        chosen: which pairs, a mask (layer pairs, widths, widths); all by default.
    """
    factors = np.asarray(weights, dtype=float)
    mask = np.ones(pairs.interactions.shape[:3], bool) if chosen is None else np.asarray(chosen)
    by_cell = pairs.interactions[mask].mean(0)  # (classes, halves)
    value = float(factors @ by_cell.mean(1))
    error = np.sqrt(np.sum((factors * (by_cell[:, 0] - by_cell[:, 1]) / 2) ** 2))
    half = float(stats.t.ppf((1 + level) / 2, np.count_nonzero(factors)) * error)
    return value, value - half, value + half


def summary(pairs: Pairs, members: Sequence[int], bits: int | None = None) -> dict[str, float]:
    """What the pairs of a group of classes say: of all widths, or of both layers at ``bits``.

    ``found`` of ``count`` pairs differ from 0 (Holm, 5 %); with :func:`reliability` and
    :func:`additivity`.
    """
    table = pair_table(pairs, members)
    if bits is not None:
        table = table[(table["bits_first"] == bits) & (table["bits_second"] == bits)]
    holm = tested(table)["holm"]
    return {
        "count": len(table),
        "found": int((holm < 0.05).sum()),
        "reliability": reliability(table),
        **additivity(table),
    }
