"""The step that rounds pairs of layers: do the losses of two layers add up?"""

from typing import Any

import numpy as np
import numpy.typing as npt

from ltqlib import interactions
from ltqlib.config import RunConfig
from ltqlib.quantization import SCHEMES
from ltqlib.records import pack_array, unpack
from ltqlib.sensitivity import Configurations
from ltqlib.steps.common import Parents, Payload, checked_dataset, folded

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
    varies less from image to image. :class:`ltqlib.interactions.Pairs` reads both.
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
