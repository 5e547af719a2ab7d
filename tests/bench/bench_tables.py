"""A benchmark made of a network that is known, as a table and as outcomes of images."""

from typing import Any

import numpy as np
import xarray as xr

from ltqlib.bench import Plan, draw, one_layer, with_metrics
from ltqlib.bench.table import HALVES

CLASSES, LAYERS, IMAGES = 10, 16, 500
NAMES = [f"L{number + 1}" for number in range(LAYERS)]
BITS = (8, 6, 5, 4, 3)
TAIL = slice(4, None)


def drawn(**plan: Any) -> xr.DataArray:
    """Few configurations, with sizes of the layers."""
    widths = draw(NAMES, Plan(**({"prefixes": 25} | plan)))
    sizes = {
        "parameters": ("layer", [10 * (k + 1) for k in range(LAYERS)]),
        "macs": ("layer", [100 - k for k in range(LAYERS)]),
    }
    return xr.DataArray(widths).assign_coords(sizes)


def made(seed: int, noise: bool = True, metrics: bool = True, **plan: Any) -> xr.Dataset:
    """A table whose layers add up in the log-odds of every class; counts are binomial.

    Layers differ as much in what they do at equal head accuracy, which is another thing.
    """
    rng = np.random.default_rng(seed)
    widths = drawn(**plan)
    size = np.where(widths == 32, 0, 4.0 ** (4 - widths.values))
    harm, other = rng.gamma(1.0, 0.3, (2, CLASSES, LAYERS))
    odds = rng.uniform(0, 2, CLASSES)[:, None]
    share, equal = (1 / (1 + np.exp(each @ size.T - odds)) for each in (harm, other))
    count = (len(HALVES), *share.shape)
    correct, right_there = (
        rng.binomial(IMAGES, each, count) if noise else np.round(IMAGES * each)[None].repeat(2, 0)
        for each in (share, equal)
    )
    place = one_layer(widths)
    floating = int(place.sel(bits=32)[0])
    correct[..., floating] = np.round(IMAGES * share[:, floating])
    there = 100 * right_there[:, TAIL].mean(1) / IMAGES
    table = xr.Dataset(
        {
            "correct": (("half", "class", "configuration"), correct.astype(int)),
            "images": (("half", "class"), np.full((2, CLASSES), IMAGES)),
            "called_tail": (("half", "configuration"), correct[:, TAIL].sum(1).astype(int)),
            "tail_at_equal_head": (("half", "configuration"), there),
            "widths": widths,
        },
        {
            "half": list(HALVES),
            "class": range(CLASSES),
            "group": ("class", ["head"] * 4 + ["tail"] * 6),
        },
    )
    alone = table.tail_at_equal_head.drop_vars(["family", "cluster"]).isel(configuration=place)
    table["curve"] = alone.sel(bits=32, drop=True) - alone
    return with_metrics(table, made_metrics(rng, harm)) if metrics else table


def made_metrics(rng: np.random.Generator, harm: np.ndarray) -> xr.Dataset:
    """Metrics with their shapes: the loss knows the harm, others little."""
    noise = np.outer(rng.uniform(0.5, 2, LAYERS), 4.0 ** (4 - np.array(BITS)))
    each, axes = (rng.uniform(0.5, 1, (CLASSES, LAYERS, 1)) for _ in range(2)), "class layer bits"
    values = {
        "accuracy": (harm[:, :, None] * noise, axes),
        "called_tail": (-noise, "layer bits"),
        "loss": (harm[:, :, None] * noise / noise[:, 3:4], axes),
        "kl": (next(each) * noise, axes),
        "fit": (next(each) * noise, axes),
        "hawq": (noise[None].repeat(CLASSES, 0), axes),
        "taylor": (rng.standard_normal((CLASSES, LAYERS, len(BITS))), axes),
        "sqnr": (-10 * np.log10(noise), "layer bits"),
        "output_sqnr": (-10 * np.log10(noise)[None].repeat(CLASSES, 0), axes),
        "logit_gap": (-noise, "layer bits"),
    }
    named = {name: (dims.split(), array) for name, (array, dims) in values.items()}
    coords = {"class": range(CLASSES), "layer": NAMES, "bits": list(BITS)}
    return xr.Dataset(named, coords).expand_dims(half=list(HALVES))


def outcomes_of(widths: xr.DataArray, images: int = 40, seed: int = 0) -> xr.Dataset:
    """Outcomes of Gaussian logits whose noise and tail shift grow as the widths fall."""
    rng = np.random.default_rng(seed)
    labels = np.tile(np.arange(CLASSES), images)
    size = np.where(widths == 32, 0, 4.0 ** (4 - widths.values))
    spread, shift = size @ rng.uniform(0, 0.3, LAYERS), size @ rng.normal(0, 0.2, LAYERS)
    base = 2.5 * np.eye(CLASSES)[labels] + rng.normal(size=(len(labels), CLASSES))
    direction = rng.normal(size=base.shape)
    logits = base + np.minimum(spread, 5)[:, None, None] * direction
    logits[..., TAIL] += shift.clip(-3, 3)[:, None, None] - 1
    head, tail = logits[..., :4], logits[..., TAIL]
    dims = ("configuration", "image")
    return xr.Dataset(
        {
            "predicted": (dims, logits.argmax(-1).astype(np.uint8)),
            "right": (dims, logits.argmax(-1) == labels),
            "best_head": (dims, head.argmax(-1).astype(np.uint8)),
            "best_tail": (dims, (4 + tail.argmax(-1)).astype(np.uint8)),
            "margin": (dims, (tail.max(-1) - head.max(-1)).astype(np.float32)),
        },
        {
            "label": ("image", labels),
            "group": ("image", np.where(labels < 4, "head", "tail")),
            "half": ("image", np.where(np.arange(len(labels)) // CLASSES % 2, "judge", "choose")),
        },
        {"classes": [str(c) for c in range(CLASSES)]},
    )
