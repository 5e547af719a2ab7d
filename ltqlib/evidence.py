"""Records as predictions and tables: what pages, claims and figures read. No torch here."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import yaml

from ltqlib import experiment, longtail, metrics, paths
from ltqlib.config import RunConfig
from ltqlib.records import Record, unpack

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

Predictions = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Run:
    """One run and everything that its records say."""

    config: RunConfig

    def record(self, step: str) -> Record:
        """The record of a step: published, cached, or computed now."""
        return experiment.get_or_run(self.config, step)

    def payload(self, step: str) -> dict[str, Any]:
        """What a step found out."""
        return self.record(step)["payload"]

    @cached_property
    def _data(self) -> dict[str, Any]:
        return self.payload("data")

    @property
    def classes(self) -> list[str]:
        """Class names by label."""
        return self._data["classes"]

    @property
    def counts(self) -> list[int]:
        """Training images by label."""
        return self._data["counts"]

    @cached_property
    def labels(self) -> Predictions:
        """True classes of the test images (N,)."""
        return unpack(self._data["test_labels"])

    @cached_property
    def select(self) -> npt.NDArray[np.bool_]:
        """True for the test images of the select half (N,)."""
        return unpack(self._data["select"]).astype(bool)

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
        payload = self.payload("sensitivity")
        reference = unpack(payload["reference"])
        return {
            layer: unpack(by_width[str(bits)]) ^ reference
            for layer, by_width in payload["changes"].items()
        }

    def mixed(self, driver: str, budget: float) -> Predictions:
        """Cross-fitted predictions of the mixed precision driven by ``norm`` or ``tail``."""
        return unpack(self.payload("mpq")["allocations"][driver][str(budget)]["predictions"])

    def accuracy(self, predictions: Predictions) -> dict[str, float]:
        """Norm, head and tail accuracy in percent."""
        return metrics.group_accuracy(predictions, self.labels, self.groups)

    def class_accuracy(self, predictions: Predictions) -> npt.NDArray[np.float64]:
        """Accuracy by class in percent."""
        return metrics.per_class_accuracy(predictions, self.labels, len(self.classes))


def open_run(profile: str, imbalance_factor: float, seed: int = 0, data: str | None = None) -> Run:
    """The run that a page means; see :func:`ltqlib.experiment.find_config`."""
    return Run(experiment.find_config(profile, imbalance_factor, seed, data))


def open_grid(profile: str, seed: int = 0, factors: tuple[float, ...] = FACTORS) -> list[Run]:
    """One run for each imbalance factor."""
    return [open_run(profile, factor, seed) for factor in factors]


def reported() -> dict[str, Any]:
    """What the post reports (book/reported.yml): the only literal results in the project."""
    return yaml.safe_load(paths.book("reported.yml").read_text(encoding="utf-8"))


def accuracy_table(runs: list[Run], methods: tuple[str, ...] = ("baseline",)) -> pd.DataFrame:
    """Accuracy in percent with 95 % intervals; a row a run, method and group."""
    rows = []
    for run in runs:
        for method in methods:
            predictions = run.predictions(method)
            for group in GROUPS:
                value, low, high = metrics.accuracy_interval(
                    predictions, run.labels, run.groups[group]
                )
                rows.append((run.config.imbalance_factor, method, group, value, low, high))
    columns = ["imbalance_factor", "method", "group", "accuracy", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def bits_table(
    run: Run, method: str, scheme: str, widths: tuple[int, ...] = (32, 8, 6, 5, 4, 3, 2)
) -> pd.DataFrame:
    """Accuracy and loss against float by width; a row a width and group, intervals paired."""
    quantized = {bits: run.quantized(method, scheme, bits) for bits in widths}
    return _loss_table(run, run.predictions(method), quantized, "bits")


def sensitivity_table(run: Run, bits: int) -> pd.DataFrame:
    """Accuracy left and accuracy lost with one layer at ``bits``; a row a layer and group."""
    model = experiment.STEPS["sensitivity"].options["model"]
    return _loss_table(run, run.predictions(model), run.one_layer(bits), "layer")


def _loss_table(
    run: Run, floating: Predictions, changed: Mapping[Any, Predictions], key: str
) -> pd.DataFrame:
    """Accuracy of each changed model and its loss against the float one, with intervals."""
    rows = []
    for name, predictions in changed.items():
        accuracy = run.accuracy(predictions)
        for group in GROUPS:
            change, low, high = metrics.paired_difference(
                floating, predictions, run.labels, run.groups[group]
            )
            rows.append((name, group, accuracy[group], -change, -high, -low))
    return pd.DataFrame(rows, columns=[key, "group", "accuracy", "drop", "low", "high"])


def rank_table(run: Run, bits: int) -> pd.DataFrame:
    """Rank of each layer (1 the most sensitive) by overall and by tail accuracy, all images."""
    table = sensitivity_table(run, bits).pivot(index="layer", columns="group", values="drop")
    order = [f"L{i + 1}" for i in range(len(table))]
    ranks = table.loc[order, ["norm", "tail"]].rank(ascending=False, method="first").astype(int)
    return ranks.rename_axis(columns=None)


def class_change_table(run: Run, first: Predictions, second: Predictions) -> pd.DataFrame:
    """Accuracy by class of two models, the paired difference, and Holm-adjusted McNemar tests."""
    rows, p_values = [], []
    for label, name in enumerate(run.classes):
        change, low, high = metrics.paired_difference(first, second, run.labels, [label])
        mine = run.labels == label
        p_values.append(metrics.mcnemar(first[mine], second[mine], run.labels[mine]))
        group = "head" if label in run.groups["head"] else "tail"
        rows.append((label, name, group, change, low, high))
    table = pd.DataFrame(rows, columns=["label", "class", "group", "change", "low", "high"])
    table.insert(3, "first", run.class_accuracy(first))
    table.insert(4, "second", run.class_accuracy(second))
    table["holm_p"] = metrics.holm(p_values)
    return table
