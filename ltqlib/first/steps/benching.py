"""The step that evaluates LTQ-Bench: every configuration on the test images, counted by class."""

from typing import Any

import numpy as np
import numpy.typing as npt

from ltqlib.first import longtail
from ltqlib.first import models as networks
from ltqlib.first.bench import FAMILIES, Plan, draw
from ltqlib.first.bench import Configurations as Drawn
from ltqlib.first.config import RunConfig
from ltqlib.first.data import Images
from ltqlib.first.quantization import SCHEMES
from ltqlib.first.records import pack, pack_array, unpack
from ltqlib.first.sensitivity import Configurations
from ltqlib.first.steps.common import Parents, Payload, Predictions, checked_dataset, folded

Labels = npt.NDArray[np.int64]


def bench(
    config: RunConfig,
    parents: Parents,
    device: str,
    *,
    model: str,
    scheme: str,
    image_step: int,
    check: list[int],
    plan: dict[str, Any],
) -> Payload:
    """How many test images of each class and half each configuration gets right.

    Everything that a proxy needs is in the payload, so that it can be read without the library::

        {"layers", "costs", "classes", "train_counts", "groups",
         "families", "family" (M), "widths" (M, layers), "cluster" (M),   packed
         "images", "float": {half: by class},
         "correct": {half: (classes, M), packed},
         "agreement"}

    Predictions are bfloat16's where the chip has units for it, and close cases are not settled:
    ``agreement`` compares them with float32's on ``check`` random configurations and images. Of the
    test images every ``image_step``-th is used.
    """
    dataset = checked_dataset(config, parents["data"])
    network = folded(config, parents, device, model)
    images, labels = dataset.test_images[::image_step], dataset.test_labels[::image_step]
    select = unpack(parents["data"]["payload"]["select"]).astype(bool)[::image_step]
    names = list(networks.quantizable_layers(network))
    drawn = draw(len(names), Plan.parse(plan))
    widths = np.array(drawn.widths)
    engine = Configurations(network, SCHEMES[scheme])
    found = engine.predict(images, widths, progress=f"bench {config.label()}", settle=False)
    exact = Configurations(network, SCHEMES[scheme], "float32")
    reference = exact.predict(images, np.full((1, len(names)), 32), progress="float reference")
    halves, classes = {"select": select, "report": ~select}, len(dataset.classes)

    def counts(predictions: npt.NDArray[np.integer]) -> dict[str, npt.NDArray[np.int64]]:
        return {
            half: right_by_class(predictions[:, inside], labels[inside], classes)
            for half, inside in halves.items()
        }

    return {
        "layers": names,
        "costs": networks.layer_costs(network, images.shape[1]),
        "classes": list(dataset.classes),
        "train_counts": parents["data"]["payload"]["counts"],
        "groups": longtail.head_and_tail(classes, config.class_order),
        **_columns(drawn),
        "images": {half: values[:, 0].tolist() for half, values in counts(labels[None]).items()},
        "float": {half: values[:, 0].tolist() for half, values in counts(reference).items()},
        "correct": {half: pack_array(values, "<u2") for half, values in counts(found).items()},
        "agreement": _agreement(exact, images, labels, widths, found, check),
    }


def _columns(drawn: Drawn) -> Payload:
    """What each configuration is."""
    return {
        "families": list(FAMILIES),
        "family": pack([FAMILIES.index(family) for family in drawn.family]),
        "widths": pack(drawn.widths),
        "cluster": pack_array(drawn.cluster, "<u2"),
    }


def right_by_class(
    predictions: npt.NDArray[np.integer], labels: Labels, classes: int
) -> npt.NDArray[np.int64]:
    """Images of each class that are predicted right, (M, N) to (classes, M)."""
    return np.stack([(predictions[:, labels == label] == label).sum(1) for label in range(classes)])


def _agreement(
    exact: Configurations,
    images: Images,
    labels: Labels,
    widths: npt.NDArray[np.int64],
    found: Predictions,
    check: list[int],
) -> dict[str, int]:
    """Predictions kept against those in float32, on some configurations and images."""
    rng = np.random.default_rng(0)
    rows = np.sort(rng.permutation(len(widths))[: check[0]])
    at = np.sort(rng.permutation(len(images))[: check[1]])
    expected = exact.predict(images[at], widths[rows], progress="agreement with float32")
    kept, classes = found[rows][:, at], int(labels.max()) + 1
    change = right_by_class(kept, labels[at], classes) - right_by_class(
        expected, labels[at], classes
    )
    return {
        "configurations": len(rows),
        "images": len(at),
        "differ": int((kept != expected).sum()),
        "largest_class_change": int(np.abs(change).max()),
    }
