"""What quantized networks lose as they are and after a repair, remembered image by image.

A repair needs logits, 130 kB a configuration of 10,000 images. What is kept is what they lead to:
the loss of each image, a kilobyte. Each network has its own draw of unlabelled images, so that
intervals over seeds know of the draw.
"""

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from ltqlib.data import Split
from ltqlib.evidence import remember_rows
from ltqlib.experiment.evaluate import METHOD, Models, along, described
from ltqlib.experiment.outcomes import CALIBRATION, FLOAT, Question, Row, check_data, drawn, predict
from ltqlib.experiment.trained import Trained
from ltqlib.statistics.curve import Images
from ltqlib.statistics.logits import outcomes_of
from ltqlib.statistics.operating import equal_head
from ltqlib.statistics.repaired import repaired_logits

IMAGES = 1000
REPAIRS = ("as it is", "test images", "long-tailed", "training images", "balanced training")
BALANCED = ", balanced"


def repaired(
    networks: Models, bits: Iterable[int] = (4,), method: str | Sequence[str] = METHOD
) -> xr.Dataset:
    """Losses of each test image against the float network, without and with a repair.

    The repair gives the quantized network the float network's class shares on 1,000 unlabelled
    images (:func:`ltqlib.statistics.match_shares`). These are: *test images* of the half that is
    not judged; *long-tailed* ones of them, in the mix of the training images; *training images*;
    or *balanced training* images, equally many of each class, as far as the rarest one reaches.

    Args:
        networks: those of one configuration, or several by name (dimension ``model``).
        bits: widths for all layers alike.
        method: how layers are quantized; several become the dimension ``method``. With
            ``, balanced`` behind its name a method is calibrated on class-balanced images.

    Returns:
        dimensions model, method, seed, bits, repair, image, as far as there are several. ``lost``:
        right in float less right after it (-1, 0, 1). ``equal``: terms whose estimate by "norm" is
        the tail accuracy lost at equal head accuracy, NaN where that is out of reach.
        :func:`ltqlib.statistics.both_losses` makes one table of the two.

    Raises:
        InputError: unknown widths or methods.
    """
    if isinstance(networks, Mapping):
        return along("model", {n: repaired(those, bits, method) for n, those in networks.items()})
    if not isinstance(method, str):
        return along("method", {name: repaired(networks, bits, name) for name in method})
    widths = list(dict.fromkeys(int(width) for width in bits))
    found = along("seed", {t.config.seed: _of_one(t, widths, method) for t in networks})
    every = found["slope"].notnull().all("seed")  # as at_equal_head: no mean of some seeds
    labels, groups = found["label"].values, networks.data.groups
    head, *others = (list(members) for members in groups.values())
    weights = Images.of(labels, np.array(head), np.concatenate(others))
    of_head, of_tail = (xr.DataArray(w / weights.norm, dims="image")
                        for w in (weights.head, weights.tail))  # fmt: skip
    found["equal"] = (-found["ahead"] * (of_tail + of_head * found["slope"])).where(every)
    return found.drop_vars(["ahead", "slope"])


def _of_one(trained: Trained, widths: Sequence[int], method: str) -> xr.Dataset:
    test, rows = trained.data.test, [(width,) * len(trained.layers) for width in widths]
    how = {"classifier": trained.classifier, "method": method, "images": test.identity}
    found = losses(Question(trained, test), rows, unlabelled=IMAGES, repairs=list(REPAIRS), **how)
    found = described(found, trained).rename(configuration="bits").assign_coords(bits=widths)
    return found.transpose("bits", "repair", "image")


@remember_rows
def losses(
    question: Question,
    rows: Sequence[Row],
    *,
    classifier: str,
    method: str,
    images: str,
    unlabelled: int,
    repairs: Sequence[str],
) -> xr.Dataset:
    """Compute what is not known; the keywords say how, and are the key.

    ``ahead`` is right at equal head accuracy less right of the float network there; with ``slope``
    it makes the terms of :func:`ltqlib.statistics.tail_at_equal_head`.
    """
    trained, on = question.trained, question.on
    check_data(trained)
    whole, parts = _images(trained, unlabelled)
    found = np.concatenate([_float(trained, unlabelled), _logits(trained, rows, whole, method)])
    array = xr.DataArray(found, {"label": ("image", whole.labels)}, LOGITS)
    test = _described(array[:, : len(on)], trained)
    asked = min(unlabelled, *(len(half) for half in on.halves()))
    ways: list[dict[str, Any]] = [{"images": asked}]
    ways += [{"images": asked, "counts": trained.data.counts}]
    ways += [{"images": n, "unlabelled": array[:, at : at + n]} for at, n in parts]
    fixed: dict[str, Any] = {"reference": {"configuration": 0}, "seed": trained.config.seed}
    each = [test[1:], *(repaired_logits(test, **fixed, **way) for way in ways)]
    kept = _kept(xr.concat(each, "repair"), test[0], rows)
    return kept.assign_coords(repair=list(repairs), layer=list(trained.layers))


LOGITS = ("configuration", "image", "class")


def _described(logits: xr.DataArray, trained: Trained) -> xr.DataArray:
    """With group and half of each image, and the configurations numbered."""
    whole = logits.to_dataset(name="logits")
    numbers = range(logits.sizes["configuration"])
    return described(whole, trained)["logits"].assign_coords(configuration=numbers)


def _kept(logits: xr.DataArray, floating: xr.DataArray, rows: Sequence[Row]) -> xr.Dataset:
    """Losses of the logits (repair, configuration, image, class), as small as they can be."""
    known, outcomes = outcomes_of(floating), outcomes_of(logits)
    equal, there = equal_head(outcomes, known), equal_head(known, known)
    lost = known["right"].astype("int8") - outcomes["right"].astype("int8")
    ahead = (equal["right"] - there["right"]).fillna(0).astype("int8")
    reached = equal["reached"]
    dims = ("configuration", "repair", "image")
    found = xr.Dataset({"lost": lost.transpose(*dims), "ahead": ahead.transpose(*dims)})
    found["slope"] = equal["slope"].where(reached).astype("float32")
    found["widths"] = (("configuration", "layer"), np.array(rows, np.uint8))
    found = found.reset_coords(drop=True)
    return found.assign_coords(label=("image", floating["label"].values.astype(np.uint8)))


@functools.lru_cache(maxsize=1)
def _images(trained: Trained, unlabelled: int) -> tuple[Split, list[tuple[int, int]]]:
    """Test images, training images and balanced training images; where the latter two are."""
    data, test = trained.data, trained.data.test
    both = [drawn(trained, unlabelled), _balanced(trained, unlabelled)]
    images = np.concatenate([test.images, *(data.images[chosen] for chosen in both)])
    labels = np.concatenate([test.labels, *(data.labels[chosen] for chosen in both)])
    first, second = (len(chosen) for chosen in both)
    parts = [(len(test), first), (len(test) + first, second)]
    return Split.of(images, labels, data.classes, counts=data.counts), parts


def _balanced(trained: Trained, images: int) -> npt.NDArray[np.int64]:
    """Positions of training images, equally many of each class, as many as the rarest has."""
    labels, classes = trained.data.labels, len(trained.data.classes)
    order = np.random.default_rng(trained.config.seed).permutation(len(labels))
    most = min(images // classes, *trained.data.counts)
    return np.sort(np.concatenate([order[labels[order] == c][:most] for c in range(classes)]))


@functools.lru_cache(maxsize=64)
def _float(trained: Trained, unlabelled: int) -> npt.NDArray:
    whole, _ = _images(trained, unlabelled)
    return _logits(trained, [(FLOAT,) * len(trained.layers)], whole, METHOD)


def _logits(trained: Trained, rows: Sequence[Row], on: Split, method: str) -> npt.NDArray:
    """(rows, images, classes), float32."""
    from ltqlib import engine
    from ltqlib.quantization import methods

    name = method.removesuffix(BALANCED)
    chosen = _balanced(trained, CALIBRATION) if name != method else None
    images = None if chosen is None else trained.data.images[chosen]
    graph, how = trained.graph(), methods.get(name)
    return predict(graph, how, rows, trained, on, engine.every, images)["logits"]
