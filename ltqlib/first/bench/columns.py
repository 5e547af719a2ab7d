"""The columns of LTQ-Bench, opened from a record: configurations, costs, and true losses."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from ltqlib.first.bench.configurations import FLOAT
from ltqlib.first.errors import InputError
from ltqlib.first.records import HALVES, unpack, unpack_array

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Counts:
    """Test images of one half that are predicted right.

    Args:
        images: images of each class, (classes,).
        floating: right with the float model, (classes,).
        correct: right with each configuration, (classes, M).
    """

    images: Ints
    floating: Ints
    correct: Ints

    def lost(self) -> Array:
        """Points of accuracy that each class loses against float, (classes, M)."""
        return 100 * (self.floating[:, None] - self.correct) / self.images[:, None]


@dataclass(frozen=True, eq=False)
class View:
    """What a proxy may know of a model: everything measured on one half, nothing of the other.

    Args:
        widths: weight bits of every configuration, (M, layers); 32 is float.
        bits: the widths of the tables, (W,).
        parameters, macs: of each layer, (layers,).
        groups: class labels of ``norm`` (all), ``head`` and ``tail``.
        train_counts: training images of each class, (classes,).
        images: test images of each class in this half, (classes,).
        accuracy: of the float model in percent, (classes,).
        lost: points of accuracy that each class loses with one layer alone at a width,
            (classes, layers, W).
        scores: what steps ``importance`` and ``pairs`` measured on this half, by name.
    """

    widths: Ints
    bits: tuple[int, ...]
    parameters: Ints
    macs: Ints
    groups: dict[str, list[int]]
    train_counts: Ints
    images: Ints
    accuracy: Array
    lost: Array
    scores: Mapping[str, Array]

    def score(self, name: str) -> Array:
        """A metric of step ``importance``, (classes, layers, W) or those axes that it has; or of
        ``pairs``, ``accuracy_pairs`` or ``loss_pairs``, (classes, pairs of layers, W, W).

        Raises:
            InputError: it was not measured.
        """
        if name not in self.scores:
            step = "pairs" if name.endswith("_pairs") else "importance"
            raise InputError(f"metric {name!r} was not measured: compute the step `{step}`")
        return self.scores[name]

    def of_layers(self, table: Array) -> Array:
        """Entries of a table (..., layers, W) at each configuration's widths, (..., M, layers).

        A layer that stays float has 0.

        Raises:
            InputError: the table has other widths, or lacks one that a configuration has.
        """
        if table.shape[-2:] != (self.widths.shape[1], len(self.bits)):
            raise InputError(
                f"the table has shape {table.shape}: give (..., layers, widths), the last two "
                f"{self.widths.shape[1]} and {len(self.bits)}"
            )
        padded = np.concatenate([table, np.zeros((*table.shape[:-1], 1))], axis=-1)
        return padded[..., np.arange(self.widths.shape[1]), self._columns]

    def sum(self, table: Array) -> Array:
        """The sum over layers of a table (..., layers, W) at each configuration, (..., M)."""
        return self.of_layers(table).sum(axis=-1)

    def sum_pairs(self, table: Array) -> Array:
        """The sum over pairs of layers of a table (..., pairs, W, W), (..., M); float counts 0.

        Raises:
            InputError: as :meth:`of_layers`.
        """
        pairs = list(itertools.combinations(range(self.widths.shape[1]), 2))
        if table.shape[-3:] != (len(pairs), len(self.bits), len(self.bits)):
            raise InputError(
                f"the table has shape {table.shape}: give (..., pairs, widths, widths), the first "
                f"of these {len(pairs)}, the others {len(self.bits)}"
            )
        padded = np.pad(table, [(0, 0)] * (table.ndim - 2) + [(0, 1), (0, 1)])
        total = np.zeros((*table.shape[:-3], len(self.widths)))
        for number, (i, j) in enumerate(pairs):
            total += padded[..., number, self._columns[:, i], self._columns[:, j]]
        return total

    @cached_property
    def _columns(self) -> Ints:
        """Which column of a padded table each layer of each configuration reads, (M, layers)."""
        if missing := set(np.unique(self.widths).tolist()) - {*self.bits, FLOAT}:
            raise InputError(f"the tables have no {min(missing)} bits: measure that width")
        place = np.zeros(FLOAT + 1, dtype=np.int64)
        place[[*self.bits, FLOAT]] = np.arange(len(self.bits) + 1)
        return place[self.widths]


@dataclass(frozen=True, eq=False)
class Bench:
    """LTQ-Bench of one model.

    Args:
        widths: weight bits, (M, layers); 32 is float.
        family: which kind of configuration, (M,), text.
        cluster: equal where configurations share their random first layers, (M,).
        layers, classes: names.
        parameters, macs: of each layer, (layers,).
        groups: class labels of ``norm``, ``head`` and ``tail``.
        train_counts: training images of each class, (classes,).
        counts: what was right, by half (``select``, ``report``).
        scores: what steps ``importance`` and ``pairs`` measured, by half and name.
        agreement: of the predictions with those in float32, as recorded.
    """

    widths: Ints
    family: npt.NDArray[np.str_]
    cluster: Ints
    layers: list[str]
    classes: list[str]
    parameters: Ints
    macs: Ints
    groups: dict[str, list[int]]
    train_counts: Ints
    counts: dict[str, Counts]
    scores: dict[str, dict[str, Array]]
    agreement: dict[str, int]

    @classmethod
    def open(
        cls,
        payload: Mapping[str, Any],
        scores: Mapping[str, Mapping[str, Array]] | None = None,
    ) -> "Bench":
        """From the payload of a record of step ``bench``."""
        layers, classes = payload["layers"], payload["classes"]
        costs = [payload["costs"][layer] for layer in layers]
        counts = {
            half: Counts(
                np.array(payload["images"][half]),
                np.array(payload["float"][half]),
                unpack_array(payload["correct"][half], "<u2")
                .reshape(len(classes), -1)
                .astype(np.int64),
            )
            for half in HALVES
        }
        return cls(
            widths=unpack(payload["widths"]).reshape(-1, len(layers)).astype(np.int64),
            family=np.array(payload["families"])[unpack(payload["family"])],
            cluster=unpack_array(payload["cluster"], "<u2").astype(np.int64),
            layers=layers,
            classes=classes,
            parameters=np.array([cost["parameters"] for cost in costs]),
            macs=np.array([cost["macs"] for cost in costs]),
            groups=payload["groups"],
            train_counts=np.array(payload["train_counts"]),
            counts=counts,
            scores={half: dict(scores[half]) if scores else {} for half in HALVES},
            agreement=payload["agreement"],
        )

    @cached_property
    def average_bits(self) -> Array:
        """Bits a weight, averaged over all weights, (M,); see :mod:`ltqlib.first.mpq.costs`."""
        return self.widths @ self.parameters / self.parameters.sum()

    def lost(self, group: str, half: str) -> Array:
        """True loss: points of mean class accuracy that a group loses against float, (M,)."""
        return self.counts[half].lost()[self.groups[group]].mean(axis=0)

    def rows(self, families: Sequence[str], low: float = 0.0, high: float = np.inf) -> Ints:
        """Places of the configurations of some families, low to high bits a weight on average.

        Raises:
            InputError: there is none.
        """
        inside = (self.average_bits >= low) & (self.average_bits <= high)
        found = np.flatnonzero(np.isin(self.family, families) & inside)
        if not len(found):
            raise InputError(
                f"no configuration of {', '.join(families)} has {low:g} to {high:g} bits a weight"
            )
        return found

    def view(self, half: str, rows: Ints | None = None) -> View:
        """What a proxy may know: measurements on one half, and some configurations (or all)."""
        bits = self._measured_alone()
        counts = self.counts[half]
        return View(
            widths=self.widths if rows is None else self.widths[rows],
            bits=tuple(bits),
            parameters=self.parameters,
            macs=self.macs,
            groups=self.groups,
            train_counts=self.train_counts,
            images=counts.images,
            accuracy=100 * counts.floating / counts.images,
            lost=np.stack([counts.lost()[:, at] for at in bits.values()], axis=-1),
            scores=self.scores[half],
        )

    def _measured_alone(self) -> dict[int, list[int]]:
        """``{bits: places of the configurations with one layer at bits, the others float}``."""
        place = {tuple(row): number for number, row in enumerate(self.widths.tolist())}
        layers = self.widths.shape[1]
        found = {}
        for bits in sorted({b for row in place for b in row} - {FLOAT}, reverse=True):
            alone = [(*[FLOAT] * k, bits, *[FLOAT] * (layers - k - 1)) for k in range(layers)]
            if all(row in place for row in alone):
                found[bits] = [place[row] for row in alone]
        return found
