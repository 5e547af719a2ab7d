"""The steps that quantize: ptq and schemes, sensitivity, mpq."""

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt

from ltqlib.first import layerwise, longtail, metrics
from ltqlib.first import models as networks
from ltqlib.first import mpq as allocation
from ltqlib.first.config import RunConfig
from ltqlib.first.data import Dataset
from ltqlib.first.progress import Progress
from ltqlib.first.quantization import SCHEMES, Calibration, Scheme, calibrate, quantize_network
from ltqlib.first.records import Record, pack, unpack
from ltqlib.first.sensitivity import Configurations, one_layer_at_a_time
from ltqlib.first.steps.common import (
    Parents,
    Payload,
    Predictions,
    checked_dataset,
    cross_fitted,
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
    for name in models:
        network = folded(config, parents, device, name)
        samples = calibrate(network, dataset.train_images[drawn])
        for scheme in schemes:
            progress = f"ptq {config.label()}, {name}, {scheme}"
            found = _uniform(network, dataset, SCHEMES[scheme], bits, samples, progress)
            packed = {str(width): pack(values) for width, values in zip(bits, found, strict=True)}
            predictions.setdefault(name, {})[scheme] = packed
    return {"predictions": predictions}


def _uniform(
    network: networks.Network,
    dataset: Dataset,
    scheme: Scheme,
    bits: list[int],
    samples: Calibration,
    progress: str,
) -> list[Predictions]:
    """Test predictions with all layers at each width."""
    layers = networks.quantizable_layers(network)
    if not scheme.activations:
        widths = np.tile(np.array(bits)[:, None], len(layers))
        configurations = Configurations(network, scheme)
        return list(configurations.predict(dataset.test_images, widths, progress=progress))
    found = []
    with Progress(len(bits), progress) as bar:
        for width in bits:
            everywhere = dict.fromkeys(layers, scheme.bits(width))
            found.append(predict(quantize_network(network, everywhere, scheme, samples), dataset))
            bar.update(1)
    return found


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
        precision="auto",  # close cases are settled in float32: see sensitivity.precision
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

    def allocate(ranking: list[str], budget: float) -> list[int]:
        return list(allocation.split_by_budget(ranking, parameters, budget, high, low).values())

    keys = list(itertools.product(rankings, budgets))
    driven = [
        {half: allocate(ranking, budget) for half, ranking in rankings[driver].items()}
        for driver, budget in keys
    ]
    orders = allocation.random_rankings(list(parameters), random, config.seed)
    null = [allocate(ranking, random_budget) for ranking in orders]
    configurations = Configurations(network, SCHEMES[options["scheme"]])
    images, label = dataset.test_images, config.label()
    judged = cross_fitted(configurations, images, driven, select, f"mpq {label}")
    by_chance = configurations.predict(images, null, progress=f"mpq {label}, random")
    found: dict[str, Any] = {}
    for (driver, budget), widths, predictions in zip(keys, driven, judged, strict=True):
        entry = {"widths": widths, "predictions": pack(predictions)}
        found.setdefault(driver, {})[str(budget)] = entry
    return {
        "costs": costs,
        "rankings": rankings,
        "allocations": found,
        "random": [
            {"widths": widths, "predictions": pack(predictions)}
            for widths, predictions in zip(null, by_chance, strict=True)
        ],
    }


def _rankings(
    config: RunConfig,
    record: Record,
    labels: npt.NDArray[np.int64],
    select: npt.NDArray[np.bool_],
    width: int,
) -> dict[str, dict[str, list[str]]]:
    """``{driver: {half: layers from most to least sensitive at width}}``, measured on that half."""
    groups = longtail.head_and_tail(int(labels.max()) + 1, config.class_order)
    predictions = layerwise.one_layer(record["payload"], width)
    rankings: dict[str, dict[str, list[str]]] = {}
    for driver in ("norm", "tail"):
        for name, half in (("select", select), ("report", ~select)):
            left = {
                layer: metrics.group_accuracy(changed[half], labels[half], groups)[driver]
                for layer, changed in predictions.items()
            }
            # the post's Sen_n = Acc(A) - Acc_tail(C_n); the reference does not change the order
            ranking = allocation.rank_by_drop(left, reference=100.0)
            rankings.setdefault(driver, {})[name] = ranking
    return rankings
