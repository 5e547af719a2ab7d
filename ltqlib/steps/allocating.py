"""The step that allocates: exact mixed precision by several objectives, beside a null."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ltqlib import longtail, metrics, mpq
from ltqlib import models as networks
from ltqlib.config import RunConfig
from ltqlib.mpq import Budget, Objective, Sensitivity
from ltqlib.progress import Progress
from ltqlib.quantization import SCHEMES
from ltqlib.records import Record, pack, unpack
from ltqlib.steps.common import (
    Parents,
    Payload,
    Predictions,
    by_widths,
    checked_dataset,
    cross_fit,
    folded,
)

Half = npt.NDArray[np.bool_]
Chooser = Callable[[Sensitivity], mpq.Allocation]
CONSTRAINED = "constrained"  # least mean loss such that no class loses much more than it must


def allocate(
    config: RunConfig,
    parents: Parents,
    device: str,
    *,
    objectives: list[str],
    slack: float,
    budgets: list[float],
    null: int,
    null_budget: float,
) -> Payload:
    """Exact allocations of all widths of the sensitivity record, chosen on one half of the images.

    ``allocations[objective][budget]`` holds the widths chosen on each half, the class losses that
    the additive model expects, and the cross-fitted predictions. ``objectives`` are as
    :meth:`ltqlib.mpq.Objective.parse` reads them, or ``constrained``: the least mean loss such
    that no class loses more than ``slack`` points beyond the minimax. ``null`` allocations solve
    for the mean with the layers of the table shuffled: they know widths, but not which layer.
    """
    dataset = checked_dataset(config, parents["data"])
    record = parents["sensitivity"]
    network = folded(config, parents, device, record["options"]["model"])
    costs = networks.layer_costs(network, dataset.test_images.shape[1])
    parameters = {name: cost["parameters"] for name, cost in costs.items()}
    select = unpack(parents["data"]["payload"]["select"]).astype(bool)
    tables = [losses_by_class(record, dataset.test_labels, half) for half in (select, ~select)]
    groups = longtail.head_and_tail(len(dataset.classes), config.class_order)
    predicted = by_widths(network, dataset, SCHEMES[record["options"]["scheme"]])
    fitted = _fitter(predicted, tables, select)

    def budget_of(limit: float) -> Budget:
        return Budget.average_weight_bits(parameters, tables[0].widths, limit)

    found: dict[str, dict[str, Any]] = {}
    with Progress(len(objectives) * len(budgets) + null, f"allocate {config.label()}") as bar:
        for name, limit in itertools.product(objectives, budgets):
            choose = _chooser(name, budget_of(limit), groups, slack)
            found.setdefault(name, {})[str(limit)] = fitted(choose)
            bar.update(1)
        random = []
        for number in range(null):
            random.append(fitted(_shuffled(budget_of(null_budget), config.seed, number)))
            bar.update(1)
    return {"costs": costs, "allocations": found, "null": random}


def _fitter(
    predicted: Callable[[tuple[int, ...]], Predictions], tables: list[Sensitivity], select: Half
) -> Callable[[Chooser], dict[str, Any]]:
    """What fits a way to choose: widths from each half's table, judged on the other half."""

    def fitted(choose: Chooser) -> dict[str, Any]:
        chosen = [choose(table) for table in tables]
        on_select, on_report = (tuple(found.widths.values()) for found in chosen)
        return {
            "widths": {"select": list(on_select), "report": list(on_report)},
            "expected": {
                half: [round(float(loss), 4) for loss in found.class_losses]
                for half, found in zip(("select", "report"), chosen, strict=True)
            },
            "predictions": pack(cross_fit(predicted(on_select), predicted(on_report), select)),
        }

    return fitted


def losses_by_class(record: Record, labels: npt.NDArray[np.int64], half: Half) -> Sensitivity:
    """Points of accuracy that each class loses with one layer quantized, on some test images."""
    payload, classes = record["payload"], int(labels.max()) + 1
    reference = unpack(payload["reference"])

    def accuracy(predictions: Predictions) -> npt.NDArray[np.float64]:
        return metrics.per_class_accuracy(predictions[half], labels[half], classes)

    floating, widths = accuracy(reference), record["options"]["bits"]
    tables = {
        layer: {
            bits: (floating - accuracy(unpack(changes[str(bits)]) ^ reference)).tolist()
            for bits in widths
        }
        for layer, changes in payload["changes"].items()
    }
    names = [str(label) for label in range(classes)]
    return Sensitivity.from_tables(tables, list(tables), widths, names)


def _chooser(name: str, budget: Budget, groups: dict[str, list[int]], slack: float) -> Chooser:
    if name != CONSTRAINED:
        objective = Objective.parse(name, groups)
        return lambda table: mpq.allocate(table, [budget], objective)

    def constrained(table: Sensitivity) -> mpq.Allocation:
        least = mpq.allocate(table, [budget], Objective.worst()).objective
        return mpq.allocate(table, [budget], Objective.mean(), max_class_loss=least + slack)

    return constrained


def _shuffled(budget: Budget, seed: int, number: int) -> Chooser:
    def choose(table: Sensitivity) -> mpq.Allocation:
        order = np.random.default_rng([seed, number]).permutation(len(table.layers))
        shuffled = Sensitivity(table.losses[:, order], table.layers, table.widths, table.classes)
        return mpq.allocate(shuffled, [budget], Objective.mean())

    return choose
