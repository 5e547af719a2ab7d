"""The step that allocates: bits chosen in every way on one half, judged on the other."""

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt

from ltqlib.first import layerwise, longtail
from ltqlib.first import models as networks
from ltqlib.first.config import RunConfig
from ltqlib.first.progress import Progress
from ltqlib.first.quantization import SCHEMES
from ltqlib.first.records import HALVES, pack, unpack
from ltqlib.first.sensitivity import Configurations
from ltqlib.first.steps.choosing import Chooser, Widths, importances
from ltqlib.first.steps.common import Parents, Payload, checked_dataset, cross_fitted, folded

Half = npt.NDArray[np.bool_]
ByHalf = dict[str, Widths]  # by the half that chose
DROP = "drop"  # the score of the sensitivity record: points of accuracy lost


def allocate(
    config: RunConfig,
    parents: Parents,
    device: str,
    *,
    methods: dict[str, list[str]],
    slack: float,
    high: int,
    low: int,
    budgets: dict[str, dict[str, float]],
    null: int,
    null_budgets: list[str],
) -> Payload:
    """Bit allocations by every method and budget, chosen on one half and judged on the other.

    ``methods`` names a solver, a score and an objective as :meth:`Chooser.choose` takes them;
    ``budgets`` the limits. ``allocations[method][budget]`` holds the widths that each half chose
    and ``changes``, the cross-fitted predictions XOR those of the float network. ``null[budget]``
    are choices by tables whose layers are shuffled.
    """
    dataset = checked_dataset(config, parents["data"])
    record = parents["sensitivity"]
    network = folded(config, parents, device, record["options"]["model"])
    costs = networks.layer_costs(network, dataset.test_images.shape[1])
    groups = longtail.head_and_tail(len(dataset.classes), config.class_order)
    select = unpack(parents["data"]["payload"]["select"]).astype(bool)
    choosers = {}
    for half, mask in zip(HALVES, (select, ~select), strict=True):
        tables = importances(parents["importance"], half, dataset.classes)
        tables[DROP] = layerwise.accuracy_drops(record["payload"], dataset.test_labels, mask)
        choosers[half] = Chooser(tables, costs, groups, slack, high, low)
    label = config.label()
    driven = _driven(choosers, methods, budgets, f"choose {label}")
    random = [
        {half: chooser.shuffled(DROP, budgets[budget], [config.seed, number])
         for half, chooser in choosers.items()}
        for budget, number in itertools.product(null_budgets, range(null))
    ]  # fmt: skip
    configurations = Configurations(network, SCHEMES[record["options"]["scheme"]])
    widths = [*driven.values(), *random]
    judged = cross_fitted(configurations, dataset.test_images, widths, select, f"allocate {label}")
    reference = layerwise.reference(record["payload"])
    entries = [
        {"widths": {half: list(values) for half, values in chosen.items()},
         "changes": pack(predictions ^ reference)}
        for chosen, predictions in zip(widths, judged, strict=True)
    ]  # fmt: skip
    found: dict[str, dict[str, Any]] = {}
    for (method, budget), entry in zip(driven, entries, strict=False):
        found.setdefault(method, {})[budget] = entry
    of_null = iter(entries[len(driven) :])
    shuffled = {budget: list(itertools.islice(of_null, null)) for budget in null_budgets}
    return {"costs": costs, "allocations": found, "null": shuffled}


def _driven(
    choosers: dict[str, Chooser],
    methods: dict[str, list[str]],
    budgets: dict[str, dict[str, float]],
    progress: str,
) -> dict[tuple[str, str], ByHalf]:
    """``{(method, budget): widths by the half that chose}``, where the method takes the budget."""
    found: dict[tuple[str, str], ByHalf] = {}
    with Progress(len(methods) * len(budgets), progress) as bar:
        for (method, how), (budget, limits) in itertools.product(methods.items(), budgets.items()):
            solver, score, objective = how
            for half, chooser in choosers.items():
                widths = chooser.choose(solver, score, objective, limits)
                if widths is not None:
                    found.setdefault((method, budget), {})[half] = widths
            bar.update(1)
    return found
