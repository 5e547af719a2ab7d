"""The steps that quantize: ptq and schemes, sensitivity, mpq."""

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt

from ltqlib import longtail, metrics
from ltqlib import models as networks
from ltqlib import mpq as allocation
from ltqlib.config import RunConfig
from ltqlib.progress import Progress
from ltqlib.quantization import SCHEMES, calibrate, quantize_network
from ltqlib.records import Record, pack, unpack
from ltqlib.sensitivity import one_layer_at_a_time
from ltqlib.steps.common import (
    Parents,
    Payload,
    by_widths,
    checked_dataset,
    cross_fit,
    folded,
    predict,
)


def ptq(
    config: RunConfig,
    parents: Parents,
    device: str,
    *,
    models: list[str],
    schemes: list[str],
    bits: list[int],
    calibration_images: int,
) -> Payload:
    """Test predictions of every model, scheme and width (the same width in all layers)."""
    dataset = checked_dataset(config, parents["data"])
    _, indices = dataset.long_tailed(config.imbalance_factor, config.class_order)
    drawn = np.random.default_rng(config.seed).permutation(indices)[:calibration_images]
    predictions: dict[str, dict[str, dict[str, str]]] = {}
    with Progress(len(models) * len(schemes) * len(bits), f"ptq {config.label()}") as bar:
        for name in models:
            network = folded(config, parents, device, name)
            samples = calibrate(network, dataset.train_images[drawn])
            for scheme, width in itertools.product(schemes, bits):
                everywhere = dict.fromkeys(
                    networks.quantizable_layers(network), SCHEMES[scheme].bits(width)
                )
                quantized = quantize_network(network, everywhere, SCHEMES[scheme], samples)
                by_scheme = predictions.setdefault(name, {}).setdefault(scheme, {})
                by_scheme[str(width)] = pack(predict(quantized, dataset))
                bar.update(1)
    return {"predictions": predictions}


schemes = ptq  # the same measurement with the other grids, a record of its own


def sensitivity(
    config: RunConfig, parents: Parents, device: str, *, model: str, scheme: str, bits: list[int]
) -> Payload:
    """Which predictions change when one layer's weights are quantized, for each layer and width.

    Stored as ``prediction XOR float prediction``, which is mostly zeros and packs small.
    """
    dataset = checked_dataset(config, parents["data"])
    network = folded(config, parents, device, model)
    reference = predict(network, dataset)
    found = one_layer_at_a_time(
        network,
        dataset.test_images,
        tuple(bits),
        SCHEMES[scheme],
        progress=f"sensitivity {config.label()}",
        precision="auto",  # close cases are settled in float32: the predictions are the same
    )
    return {
        "reference": pack(reference),
        "changes": {
            layer: {str(width): pack(values ^ reference) for width, values in by_width.items()}
            for layer, by_width in found.items()
        },
    }


def mpq(
    config: RunConfig,
    parents: Parents,
    device: str,
    *,
    high: int,
    low: int,
    budgets: list[float],
    random: int,
    random_budget: float,
) -> Payload:
    """The post's mixed precision: two widths, layers ranked on one half of the test images.

    ``allocations[driver][budget]`` holds the widths chosen on each half and the cross-fitted
    predictions; ``random`` the predictions of allocations from random rankings.
    """
    dataset = checked_dataset(config, parents["data"])
    options = parents["sensitivity"]["options"]
    network = folded(config, parents, device, options["model"])
    costs = networks.layer_costs(network, dataset.test_images.shape[1])
    parameters = {name: cost["parameters"] for name, cost in costs.items()}
    select = unpack(parents["data"]["payload"]["select"]).astype(bool)
    rankings = _rankings(config, parents["sensitivity"], dataset.test_labels, select, low)
    outcome = by_widths(network, dataset, SCHEMES[options["scheme"]])

    def allocate(ranking: list[str], budget: float) -> tuple[int, ...]:
        return tuple(allocation.split_by_budget(ranking, parameters, budget, high, low).values())

    driven: dict[str, Any] = {}
    with Progress(len(rankings) * len(budgets) + random, f"mpq {config.label()}") as bar:
        for (driver, halves), budget in itertools.product(rankings.items(), budgets):
            widths = {half: allocate(ranking, budget) for half, ranking in halves.items()}
            fitted = cross_fit(outcome(widths["select"]), outcome(widths["report"]), select)
            found = {"widths": {h: list(w) for h, w in widths.items()}, "predictions": pack(fitted)}
            driven.setdefault(driver, {})[str(budget)] = found
            bar.update(1)
        null = []
        for ranking in allocation.random_rankings(list(parameters), random, config.seed):
            widths_of = allocate(ranking, random_budget)
            null.append({"widths": list(widths_of), "predictions": pack(outcome(widths_of))})
            bar.update(1)
    return {"costs": costs, "rankings": rankings, "allocations": driven, "random": null}


def _rankings(
    config: RunConfig,
    record: Record,
    labels: npt.NDArray[np.int64],
    select: npt.NDArray[np.bool_],
    width: int,
) -> dict[str, dict[str, list[str]]]:
    """``{driver: {half: layers from most to least sensitive at width}}``, measured on that half."""
    groups = longtail.head_and_tail(int(labels.max()) + 1, config.class_order)
    reference = unpack(record["payload"]["reference"])
    rankings: dict[str, dict[str, list[str]]] = {}
    for driver in ("norm", "tail"):
        for name, half in (("select", select), ("report", ~select)):
            left = {
                layer: metrics.group_accuracy(
                    (unpack(changes[str(width)]) ^ reference)[half], labels[half], groups
                )[driver]
                for layer, changes in record["payload"]["changes"].items()
            }
            # the post's Sen_n = Acc(A) - Acc_tail(C_n); the reference does not change the order
            ranking = allocation.rank_by_drop(left, reference=100.0)
            rankings.setdefault(driver, {})[name] = ranking
    return rankings
