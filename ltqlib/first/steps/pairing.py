"""The steps on pairs of layers: do losses add up, and does an allocation that knows do better?"""

import functools
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ltqlib.first import interactions, longtail, mpq
from ltqlib.first import models as networks
from ltqlib.first.config import RunConfig
from ltqlib.first.interactions import Pairs
from ltqlib.first.mpq import Allocation, Budget, Objective
from ltqlib.first.progress import Progress
from ltqlib.first.quantization import SCHEMES
from ltqlib.first.records import HALVES, pack, pack_array, unpack
from ltqlib.first.sensitivity import Configurations
from ltqlib.first.steps.common import (
    Parents,
    Payload,
    Predictions,
    checked_dataset,
    cross_fitted,
    folded,
)

Ints = npt.NDArray[np.int64]


def pairs(
    config: RunConfig,
    parents: Parents,
    device: str,
    *,
    model: str,
    scheme: str,
    bits: list[int],
    loss_images: int,
) -> Payload:
    """Interactions of all pairs of layers, by class and half of the test images.

    ``accuracy`` is of all test images. ``loss``, the mean cross-entropy, is of the first
    ``loss_images`` of each class and half: it needs the logits, in float32's arithmetic, and
    varies less from image to image. :class:`ltqlib.first.interactions.Pairs` reads both.
    """
    dataset = checked_dataset(config, parents["data"])
    network = folded(config, parents, device, model)
    select = unpack(parents["data"]["payload"]["select"]).astype(bool)
    labels = dataset.test_labels
    cells = 2 * labels + ~select  # a class and half each
    engine = Configurations(network, SCHEMES[scheme])
    rows = interactions.configurations(len(engine.layers), bits)
    name = f"pairs {config.label()}"
    sample = first_of_each(cells, loss_images)
    rest = np.setdiff1d(np.arange(len(labels)), sample)
    logits = engine.logits(dataset.test_images[sample], rows)
    predicted = np.zeros((len(rows), len(labels)), dtype=np.uint8)
    predicted[:, sample] = logits.argmax(2)
    if len(rest):
        predicted[:, rest] = engine.predict(dataset.test_images[rest], rows, progress=name)
    shape = (len(engine.layers), len(bits))
    return {
        "layers": engine.layers,
        "accuracy": _accuracy(predicted == labels, cells, shape),
        "loss": _loss(cross_entropy(logits, labels[sample]), cells[sample], shape),
    }


def first_of_each(cells: Ints, count: int) -> Ints:
    """Positions of the first ``count`` images, or all there are, of each cell; sorted."""
    return np.sort(np.concatenate([np.flatnonzero(cells == c)[:count] for c in np.unique(cells)]))


def cross_entropy(logits: npt.NDArray[np.float32], labels: Ints) -> npt.NDArray[np.float64]:
    """Cross-entropy in nats, (models, N), of logits (models, N, classes)."""
    values = logits.astype(np.float64)
    values -= values.max(axis=2, keepdims=True)
    of_label = np.take_along_axis(values, labels[None, :, None], axis=2)[..., 0]
    return np.asarray(np.log(np.exp(values).sum(axis=2)) - of_label)


def _accuracy(correct: npt.NDArray[np.bool_], cells: Ints, shape: tuple[int, int]) -> Payload:
    """Counts: of correct images of each model, and the sum of squares of each interaction."""
    each = interactions.measure(correct.astype(np.int8), *shape)
    return {
        "images": np.bincount(cells).reshape(-1, 2).tolist(),
        "correct": pack_array(_by_cell(correct, cells), "<u2"),
        "squares": pack_array(_by_cell(each.astype(np.int8) ** 2, cells), "<u2"),
    }


def _loss(values: npt.NDArray[np.float64], cells: Ints, shape: tuple[int, int]) -> Payload:
    """Means in nats: float; what each single adds; the interactions and their standard errors.

    Two bytes a value hold eleven bits: these differences, unlike the sums, are kept well by them.
    """
    images = np.bincount(cells)
    each = interactions.measure(values, *shape)
    mean, squares = _by_cell(each, cells) / images, _by_cell(each**2, cells) / images
    error = np.sqrt(np.maximum(squares - mean**2, 0) / np.maximum(images - 1, 1))
    singles = values[1 : 1 + shape[0] * shape[1]] - values[0]
    return {
        "images": images.reshape(-1, 2).tolist(),
        "float": pack_array(_by_cell(values[:1], cells) / images, "<f2"),
        "singles": pack_array(_by_cell(singles, cells) / images, "<f2"),
        "interactions": pack_array(mean, "<f2"),
        "errors": pack_array(error, "<f2"),
    }


def _by_cell(values: npt.NDArray[Any], cells: Ints) -> npt.NDArray[np.float64]:
    """Sums over the images of each class and half, (models, cells), of ``values`` (models, N)."""
    members = (np.arange(cells.max() + 1) == cells[:, None]).astype(np.float64)
    return np.stack([row @ members for row in values])


def quadratic(
    config: RunConfig,
    parents: Parents,
    device: str,
    *,
    free: int,
    objectives: list[str],
    budgets: list[float],
) -> Payload:
    """Exact allocations that know pairs of layers (CLADO's), beside those that add single losses.

    ``allocations[measure][model][objective][budget]`` holds the widths chosen on each half, the
    class losses that the model expects, and the cross-fitted predictions; measure is ``accuracy``
    or ``loss``, model is ``sum``, ``pairs`` or ``shrunk`` (see :meth:`Pairs.model`). ``free`` bits
    a layer are taken to cost nothing.
    """
    dataset = checked_dataset(config, parents["data"])
    record, options = parents["pairs"], parents["pairs"]["options"]
    network = folded(config, parents, device, options["model"])
    costs = networks.layer_costs(network, dataset.test_images.shape[1])
    parameters = {name: cost["parameters"] for name, cost in costs.items()}
    groups = longtail.head_and_tail(len(dataset.classes), config.class_order)
    measured = {name: of(record["payload"], options["bits"]) for name, of in MEASURES.items()}
    chosen: dict[tuple[str, ...], dict[str, Allocation]] = {}
    every = list(itertools.product(MEASURES, MODELS, objectives, budgets))
    with Progress(len(every), f"quadratic {config.label()}") as bar:
        for measure, model, name, limit in every:
            budget = Budget.average_weight_bits(parameters, (free, *options["bits"]), limit)
            wanted = Objective.parse(name, groups)
            chosen[measure, model, name, str(limit)] = {
                half: MODELS[model](measured[measure], number, free, budget, wanted)
                for number, half in enumerate(HALVES)
            }
            bar.update(1)
    engine = Configurations(network, SCHEMES[options["scheme"]])
    select = unpack(parents["data"]["payload"]["select"]).astype(bool)
    widths = [
        {h: list(f.widths.values()) for h, f in by_half.items()} for by_half in chosen.values()
    ]
    judged = cross_fitted(engine, dataset.test_images, widths, select)
    allocations: dict[str, Any] = {}
    for ((*path, last), by_half), predictions in zip(chosen.items(), judged, strict=True):
        place = functools.reduce(lambda at, key: at.setdefault(key, {}), path, allocations)
        place[last] = _kept(by_half, predictions)
    return {"costs": costs, "allocations": allocations}


def _kept(halves: dict[str, Allocation], predictions: Predictions) -> Payload:
    """What the record keeps of the allocations chosen on the two halves."""
    return {
        "widths": {half: list(found.widths.values()) for half, found in halves.items()},
        "expected": {
            half: [round(float(loss), 5) for loss in found.class_losses]
            for half, found in halves.items()
        },
        "seconds": {half: round(found.seconds, 2) for half, found in halves.items()},
        "predictions": pack(predictions),
    }


def _sum(measured: Pairs, half: int, free: int, budget: Budget, objective: Objective) -> Allocation:
    return mpq.allocate(measured.model(half, free).sensitivity, [budget], objective)


def _pairs(
    measured: Pairs, half: int, free: int, budget: Budget, objective: Objective, shrunk: bool
) -> Allocation:
    return mpq.allocate_quadratic(measured.model(half, free, shrunk), [budget], objective)


MEASURES = {"accuracy": Pairs.of_accuracy, "loss": Pairs.of_loss}
MODELS: dict[str, Callable[..., Allocation]] = {
    "sum": _sum,
    "pairs": functools.partial(_pairs, shrunk=False),
    "shrunk": functools.partial(_pairs, shrunk=True),
}
