"""What one trained network under many bit configurations predicts on given images, remembered.

A row is one configuration: the width of every layer in order, 32 where it stays float. Of every
image a row keeps the best head class, the best tail class, and the margin (best tail logit less
best head logit): enough for the predicted class and for the head-tail curve.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from ltqlib.data import Split
from ltqlib.evidence import remember_rows
from ltqlib.experiment.trained import Trained, check_data

if TYPE_CHECKING:
    from ltqlib.models.graph import Graph
    from ltqlib.quantization.methods import Method

FLOAT = 32
CALIBRATION = 512  # training images on which the ranges of activations are measured
# Margins are kept as whole steps: a 32nd of their standard deviation, as a power of two
STEPS, LAST = 32, 2**15 - 1
LOGIT_STEP = 1 / 64

Row = tuple[int, ...]


@dataclass(frozen=True)
class Question:
    """A network with its classifier, and the images to evaluate it on."""

    trained: Trained
    on: Split

    @property
    def digest(self) -> str:
        """Of the network."""
        return self.trained.digest


def outcomes_of(trained: Trained, rows: Sequence[Row], on: Split, method: str) -> xr.Dataset:
    """Outcomes of all images of a split, with dimensions image and configuration.

    Args:
        rows: widths of the layers, in their order.
        method: a registered method of quantization.
    """
    how = {"classifier": trained.classifier, "method": method, "images": on.identity}
    head = list(next(iter(trained.data.groups.values())))  # every other class counts as tail
    found = outcomes(Question(trained, on), rows, head=head, **how)
    best = xr.where(found["margin"] > 0, found["best_tail"], found["best_head"])
    return found.assign(predicted=best)


@remember_rows
def outcomes(
    question: Question,
    rows: Sequence[Row],
    *,
    classifier: str,
    method: str,
    images: str,
    head: Sequence[int],
) -> xr.Dataset:
    """Compute what is not known; the keywords say how, and are the key."""
    from ltqlib import engine
    from ltqlib.quantization import methods

    trained, on = question.trained, question.on
    check_data(trained)
    graph, chosen = trained.graph(), methods.get(method)
    asked = [(FLOAT,) * len(graph.layers), *rows]  # the float model's margins give the step
    tail = [label for label in range(graph.classes) if label not in head]
    reduce = engine.whole({"head": head, "tail": tail})
    found = predict(graph, chosen, asked, trained, on, reduce)
    step = 2.0 ** np.floor(np.log2(found["margin"][0].std() / STEPS + 1e-12))
    found["margin"] = _on_steps(found["margin"], step)
    del found["predicted"]  # follows from the others
    dims, small = ("configuration", "image"), _small(graph.classes)
    kept = {
        name: (dims, values[1:] if name == "margin" else values[1:].astype(small))
        for name, values in found.items()
    }
    return _packed(_labelled(kept, rows, graph, on), "margin", step)


def logits_of(trained: Trained, rows: Sequence[Row], on: Split, method: str) -> xr.Dataset:
    """Logits (image, configuration, class) of all images of a split, to a 64th; as outcomes_of."""
    how = {"classifier": trained.classifier, "method": method, "images": on.identity}
    return logits(Question(trained, on), rows, **how)


@remember_rows
def logits(
    question: Question, rows: Sequence[Row], *, classifier: str, method: str, images: str
) -> xr.Dataset:
    """Compute what is not known, in float32; the keywords say how, and are the key."""
    from ltqlib import engine
    from ltqlib.quantization import methods

    trained, on = question.trained, question.on
    check_data(trained)
    graph, how = trained.graph(), methods.get(method)
    found = predict(graph, how, rows, trained, on, engine.every)["logits"]
    kept = {"logits": (("configuration", "image", "class"), found)}
    return _packed(_labelled(kept, rows, graph, on), "logits", LOGIT_STEP)


def predict(
    graph: "Graph",
    method: "Method",
    rows: Sequence[Row],
    trained: Trained,
    on: Split,
    reduce: Any,
    calibration: npt.NDArray[np.uint8] | None = None,
) -> dict[str, npt.NDArray]:
    """(rows, images, ...) of each quantity that is kept; ``calibration`` on images of choice."""
    from ltqlib import engine

    if calibration is None and method.calibrated:
        calibration = trained.data.images[drawn(trained, CALIBRATION)]
    if not method.local:
        return _one_by_one(graph, method, rows, on, reduce, calibration)
    samples = method.samples(graph, calibration)  # type: ignore[attr-defined]
    variants = {
        layer: {
            bits: method.variant(graph, layer, bits, samples.get(layer))  # type: ignore[attr-defined]
            for bits in sorted({row[at] for row in rows} - {0, FLOAT})
        }
        for at, layer in enumerate(graph.layers)
    }
    what = f"{trained.config.label()}, {trained.classifier}, {method.name}"
    return engine.predict(graph, variants, np.array(rows), on.images, reduce, progress=what)


def _one_by_one(
    graph: "Graph",
    method: "Method",
    rows: Sequence[Row],
    on: Split,
    reduce: Any,
    calibration: npt.NDArray[np.uint8] | None,
) -> dict[str, npt.NDArray]:
    """Configurations that share nothing: each is made and evaluated as a whole."""
    from ltqlib import engine

    found = []
    for row in rows:
        widths = dict(zip(graph.layers, row, strict=True))
        model = method.quantize(graph, widths, calibration)
        found.append(engine.predict_module(model, on.images, reduce))
    return {name: np.stack([each[name] for each in found]) for name in found[0]}


def drawn(trained: Trained, images: int) -> npt.NDArray[np.int64]:
    """Positions of training images drawn with the seed of the network, as they are: long-tailed."""
    order = np.random.default_rng(trained.config.seed).permutation(len(trained.data.images))
    return np.sort(order[:images])


def _on_steps(margin: npt.NDArray, step: float) -> npt.NDArray[np.float64]:
    """Whole steps away from zero, so that no sign is lost."""
    steps = np.clip(np.ceil(np.abs(margin) / step), 1, LAST)
    return np.where(margin > 0, steps, -steps) * step


def _small(classes: int) -> type[np.unsignedinteger]:
    return np.uint8 if classes <= 256 else np.uint16


def _labelled(
    found: Mapping[str, Any], rows: Sequence[Row], graph: "Graph", on: Split
) -> xr.Dataset:
    """What was found, with the widths of the rows and the labels of the images."""
    widths = (("configuration", "layer"), np.array(rows, np.uint8).reshape(-1, len(graph.layers)))
    return xr.Dataset(
        {"widths": widths, **found},
        {"label": ("image", on.labels.astype(_small(graph.classes))), "layer": list(graph.layers)},
    )


def _packed(dataset: xr.Dataset, name: str, step: float) -> xr.Dataset:
    """A variable is stored as 16-bit numbers of steps."""
    packing = {"dtype": "int16", "scale_factor": step, "_FillValue": -LAST - 1}
    dataset[name].encoding = packing
    return dataset
