"""Records as outcomes: what pages, tables, claims and figures read. No torch here.

A :class:`Run` is one training with its records; :class:`Replicates` are the runs of one
configuration that differ in the seed alone, all tested on the same images.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import yaml

from ltqlib.first import experiment, layerwise, longtail, metrics, paths
from ltqlib.first.bench import Bench, of_importance, of_pairs
from ltqlib.first.config import RunConfig
from ltqlib.first.crossed import Estimate, class_weights, crossed_interval
from ltqlib.first.errors import InputError
from ltqlib.first.mpq import Sensitivity
from ltqlib.first.records import HALVES, Record, unpack, unpack_numbers

FACTORS = (0.1, 0.02, 0.01)  # the imbalance factors of the post
GROUPS = ("norm", "head", "tail")
METHODS = {
    "baseline": "Baseline",
    "crt": "cRT",
    "lws": "LWS",
    "ncm": "NCM",
    "tau": "τ-norm",
    "logit-adjusted": "Logit adjustment",
}

Key = TypeVar("Key")
Predictions = npt.NDArray[np.uint8]
Outcomes = npt.NDArray[np.float64]  # (seeds, images): right or wrong, or a difference of those


@dataclass(frozen=True)
class Run:
    """One run and everything that its records say."""

    config: RunConfig

    def record(self, step: str) -> Record:
        """The record of a step: published, cached, or computed now."""
        return experiment.get_or_run(self.config, step)

    def has(self, step: str) -> bool:
        """Whether a usable record of a step is published or cached."""
        if step not in self._payloads:
            record = experiment.existing(self.config, step)
            if record is None:
                return False
            self._payloads[step] = record["payload"]  # read and verified once, kept for payload()
        return True

    def payload(self, step: str) -> dict[str, Any]:
        """What a step found out."""
        if step not in self._payloads:
            self._payloads[step] = self.record(step)["payload"]
        return self._payloads[step]

    @cached_property
    def _payloads(self) -> dict[str, dict[str, Any]]:
        return {}

    @property
    def classes(self) -> list[str]:
        """Class names by label."""
        return self.payload("data")["classes"]

    @property
    def counts(self) -> list[int]:
        """Training images by label."""
        return self.payload("data")["counts"]

    @cached_property
    def labels(self) -> Predictions:
        """True classes of the test images (N,)."""
        return unpack(self.payload("data")["test_labels"])

    @cached_property
    def select(self) -> npt.NDArray[np.bool_]:
        """True for the test images of the select half (N,)."""
        return unpack(self.payload("data")["select"]).astype(bool)

    @cached_property
    def groups(self) -> dict[str, list[int]]:
        """Class labels of norm, head and tail."""
        return longtail.head_and_tail(len(self.classes), self.config.class_order)

    def predictions(self, method: str) -> Predictions:
        """Test predictions of a float model: a key of METHODS."""
        return unpack(self.payload("decouple")["predictions"][method])

    def quantized(self, method: str, scheme: str, bits: int) -> Predictions:
        """Test predictions with every layer at ``bits``; 32 is the float model."""
        if bits == 32:
            return self.predictions(method)
        step = "ptq" if scheme in experiment.STEPS["ptq"].options["schemes"] else "schemes"
        return unpack(self.payload(step)["predictions"][method][scheme][str(bits)])

    def one_layer(self, bits: int) -> dict[str, Predictions]:
        """Test predictions with one layer's weights at ``bits``, by layer, in order."""
        return layerwise.one_layer(self.payload("sensitivity"), bits)

    def mixed(self, driver: str, budget: float) -> Predictions:
        """Cross-fitted predictions of the mixed precision driven by ``norm`` or ``tail``."""
        return unpack(self.payload("mpq")["allocations"][driver][str(budget)]["predictions"])

    def allocated(self, method: str, budget: str) -> Predictions:
        """Cross-fitted predictions of a method of step ``allocate`` under one of its budgets."""
        found = self.payload("allocate")["allocations"][method][budget]
        return unpack(found["changes"]) ^ layerwise.reference(self.payload("sensitivity"))

    def null(self, number: int, budget: str) -> Predictions:
        """Cross-fitted predictions of the allocation from a table with shuffled layers."""
        found = self.payload("allocate")["null"][budget][number]
        return unpack(found["changes"]) ^ layerwise.reference(self.payload("sensitivity"))

    def losses(self, half: str) -> Sensitivity:
        """Points that each class loses with one layer quantized, on the images of a half."""
        if half not in self._losses:
            images = {"select": self.select, "report": ~self.select}[half]
            self._losses[half] = layerwise.accuracy_drops(
                self.payload("sensitivity"), self.labels, images
            )
        return self._losses[half]

    @cached_property
    def _losses(self) -> dict[str, Sensitivity]:
        return {}

    def importance(self, metric: str, half: str) -> npt.NDArray[np.float64]:
        """Scores of a metric of step ``importance`` on a half: (classes, layers, widths), or
        those of the axes that the metric has."""
        return unpack_numbers(self.payload("importance")["scores"][half][metric])

    @cached_property
    def bench(self) -> Bench:
        """LTQ-Bench of this model, with what ``importance`` and ``pairs`` measured, if they did."""
        bits = experiment.STEPS["sensitivity"].options["bits"]
        tables: dict[str, dict[str, npt.NDArray[np.float64]]] = {half: {} for half in HALVES}
        if self.has("importance"):
            for half, found in of_importance(self.payload("importance"), bits).items():
                tables[half] |= found
        if self.has("pairs"):
            measured = experiment.STEPS["pairs"].options["bits"]
            for half, found in of_pairs(self.payload("pairs"), measured, bits).items():
                tables[half] |= found
        return Bench.open(self.payload("bench"), tables)

    def accuracy(self, predictions: Predictions) -> dict[str, float]:
        """Norm, head and tail accuracy in percent."""
        return metrics.group_accuracy(predictions, self.labels, self.groups)

    def class_accuracy(self, predictions: Predictions) -> npt.NDArray[np.float64]:
        """Accuracy by class in percent."""
        return metrics.per_class_accuracy(predictions, self.labels, len(self.classes))


@dataclass(frozen=True)
class Replicates:
    """The runs of one configuration with different seeds, in the order of their seeds."""

    runs: tuple[Run, ...]

    def __post_init__(self) -> None:
        if not self.runs:
            raise InputError("no run was given: `ltq show` lists the records there are")
        first, *others = (dataclasses.replace(run.config, seed=0) for run in self.runs)
        if any(other != first for other in others):
            raise InputError("replicates must differ in their seed alone")

    @property
    def seeds(self) -> list[int]:
        """The seeds, ascending."""
        return [run.config.seed for run in self.runs]

    @property
    def first(self) -> Run:
        """The run of the smallest seed: what does not depend on the seed is read from it."""
        return self.runs[0]

    @property
    def factor(self) -> float:
        """The imbalance factor."""
        return self.first.config.imbalance_factor

    @property
    def groups(self) -> dict[str, list[int]]:
        """Class labels of norm, head and tail."""
        return self.first.groups

    def with_step(self, step: str) -> "Replicates":
        """The runs that have a step's record; if none has, the first, which will compute it."""
        return Replicates(tuple(run for run in self.runs if run.has(step)) or self.runs[:1])

    def correct(self, predictions: Callable[[Run], Predictions]) -> Outcomes:
        """(seeds, images): 1 where ``predictions(run)`` is right."""
        return np.stack([predictions(run) == run.labels for run in self.runs]).astype(float)

    def floating(self, method: str) -> Outcomes:
        """Outcomes of a float model: a key of METHODS."""
        return self.correct(lambda run: run.predictions(method))

    def quantized(self, method: str, scheme: str, bits: int) -> Outcomes:
        """Outcomes with every layer at ``bits``."""
        return self.correct(lambda run: run.quantized(method, scheme, bits))

    def lost(self, method: str, scheme: str, bits: int) -> Outcomes:
        """1 for an image that was right and no longer is with every layer at ``bits``, -1 for the
        opposite, 0 for the others."""
        return self.floating(method) - self.quantized(method, scheme, bits)

    def mixed(self, driver: str, budget: float) -> Outcomes:
        """Outcomes of the mixed precision driven by ``norm`` or ``tail``."""
        return self.correct(lambda run: run.mixed(driver, budget))

    def estimate(
        self, outcomes: Outcomes, plus: Sequence[int], minus: Sequence[int] = ()
    ) -> Estimate:
        """Mean over the ``plus`` classes less that over the ``minus`` classes, in points.

        The interval is for other seeds *and* other test images; see :mod:`ltqlib.first.crossed`.
        """
        weights = class_weights(len(self.first.classes), plus, minus)
        return crossed_interval(outcomes, self.first.labels, weights)


def open_replicates(
    profile: str, imbalance_factor: float, seeds: Sequence[int] = (), **changes: Any
) -> Replicates:
    """The runs of ``profile`` at a factor: those with ``seeds``, else all that were trained.

    Where no run was trained yet it is seed 0, whose records the first question will compute.
    """
    config = experiment.find_config(profile, imbalance_factor, **changes)
    known = list(seeds) or experiment.trained_seeds(config) or [0]
    return Replicates(tuple(Run(dataclasses.replace(config, seed=seed)) for seed in known))


def open_grid(profile: str, factors: tuple[float, ...] = FACTORS) -> dict[float, Replicates]:
    """The replicates of each imbalance factor."""
    return {factor: open_replicates(profile, factor) for factor in factors}


def measured(grid: Mapping[Key, Replicates], step: str) -> dict[Key, Replicates]:
    """The entries (factors, say) that have records of a step, each with the runs that have one."""
    return {
        key: replicates.with_step(step)
        for key, replicates in grid.items()
        if any(run.has(step) for run in replicates.runs)
    }


def open_orders(profile: str, imbalance_factor: float, step: str) -> dict[str, Replicates]:
    """The replicates of every class order of the control for identity that have a step, by name."""
    return {
        name: open_replicates(profile, imbalance_factor, class_order=order).with_step(step)
        for name, order in longtail.CLASS_ORDERS.items()
    }


def open_benches(profile: str, factors: tuple[float, ...] = FACTORS) -> dict[float, Bench]:
    """LTQ-Bench of each imbalance factor that has the record, by factor.

    If none has, that of the most severe factor, which is then computed.
    """
    runs = {factor: open_replicates(profile, factor).with_step("bench").first for factor in factors}
    known = {factor: run for factor, run in runs.items() if run.has("bench")}
    severe = min(runs)
    return {factor: run.bench for factor, run in (known or {severe: runs[severe]}).items()}


def in_common(first: Replicates, second: Replicates) -> tuple[Replicates, Replicates]:
    """Both with only the seeds that both have, so that outcomes can be subtracted row by row."""
    shared = set(first.seeds) & set(second.seeds)
    if not shared:
        raise InputError(f"no seed in common: {first.seeds} and {second.seeds}")
    one, two = (
        Replicates(tuple(run for run in both.runs if run.config.seed in shared))
        for both in (first, second)
    )
    return one, two


def reported() -> dict[str, Any]:
    """What the post reports (book/reported.yml): the only literal results in the project."""
    return yaml.safe_load(paths.book("reported.yml").read_text(encoding="utf-8"))
