"""``benchmark``: the table of LTQ-Bench of trained networks, remembered; read without torch."""

import dataclasses
from typing import Any

import numpy as np
import xarray as xr

from ltqlib.bench import PLAN, Plan, draw, tabulate
from ltqlib.data import Split
from ltqlib.data.halves import HALVES, half_mask
from ltqlib.evidence import remember
from ltqlib.experiment.networks import Networks
from ltqlib.experiment.outcomes import predict
from ltqlib.experiment.trained import Trained, check_data

METHOD = "w-tensor"
IMAGES = 100  # of each class and half: a table keeps counts, not images


def benchmark(
    networks: Networks, plan: Plan = PLAN, method: str = METHOD, images: int = IMAGES
) -> dict[int, xr.Dataset]:
    """What every configuration of the plan costs every class, by seed.

    Args:
        networks: what ``train`` or ``decouple`` returned.
        plan: which configurations are drawn.
        method: how layers are quantized.
        images: test images of each class and half.

    Returns:
        the table that :func:`ltqlib.bench.tabulate` returns, for each seed.

    Raises:
        InputError: a plan that does not fit the network, missing images or weights.
    """
    how = {"plan": dataclasses.asdict(plan), "method": method, "images": images}
    head = list(next(iter(networks.data.groups.values())))
    return {
        t.config.seed: _benchmark(t, classifier=t.classifier, head=head, **how) for t in networks
    }


@remember
def _benchmark(
    trained: Trained,
    *,
    classifier: str,
    head: list[int],
    plan: dict[str, Any],
    method: str,
    images: int,
) -> xr.Dataset:
    """Compute what is not known; the keywords say how, and are the key."""
    from ltqlib import engine
    from ltqlib.quantization import methods

    check_data(trained)
    graph = trained.graph()
    drawn = draw(list(trained.layers), Plan(**plan))
    on, half = some_of_each(trained.data.test, images)
    tail = [label for label in range(graph.classes) if label not in head]
    reduce = engine.whole({"head": head, "tail": tail})
    rows = [tuple(row) for row in drawn.values.tolist()]
    found = predict(graph, methods.get(method), rows, trained, on, reduce)
    dims = ("configuration", "image")
    outcomes = xr.Dataset(
        {name: (dims, values) for name, values in found.items()},
        {
            "label": ("image", on.labels),
            "group": ("image", on.group_of_image),
            "half": ("image", half),
        },
    )
    outcomes["right"] = outcomes["predicted"] == outcomes["label"]
    costs = trained.layers.values()
    sizes = {n: ("layer", [cost[n] for cost in costs]) for n in ("parameters", "macs")}
    return tabulate(outcomes, drawn.assign_coords(sizes))


def some_of_each(test: Split, count: int) -> tuple[Split, list[str]]:
    """The first ``count`` test images of each class and half, and the half of each.

    They keep their halves, so that what was measured on one half has not seen the other.
    """
    mask, labels = half_mask(test.labels), test.labels
    chosen = np.sort(np.concatenate([
        np.flatnonzero((mask == side) & (labels == label))[:count]
        for side in (True, False) for label in np.unique(labels)
    ]))  # fmt: skip
    part = Split.of(
        test.images[chosen], labels[chosen], test.classes, groups=test.groups, name="bench"
    )
    return part, np.where(mask[chosen], *HALVES).tolist()
