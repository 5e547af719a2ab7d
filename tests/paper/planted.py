"""Outcomes that nobody measured: 10 classes of 40 images, a head and a tail, planted losses."""

from collections.abc import Callable

import numpy as np
import xarray as xr

CLASSES = [f"class {label}" for label in range(10)]
HEAD = 4  # classes of the head
Accuracy = Callable[[int, int], tuple[float, float]]  # (model, bits) -> of head and tail


def made_up(
    accuracy: Accuracy,
    models: tuple[str, ...] = ("baseline", "cRT"),
    bits: tuple[int, ...] = (32, 6, 5, 4),
    seeds: int = 3,
) -> xr.Dataset:
    """Outcomes as ``evaluate`` returns them: (model, seed, bits, image)."""
    generator = np.random.default_rng(0)
    label = np.repeat(np.arange(10), 40)
    tail = label >= HEAD
    luck = generator.random((1, seeds, len(label)))  # the same for every model and width
    chance = np.array([[accuracy(m, b) for b in bits] for m in range(len(models))])
    chance = chance[..., tail.astype(int)]  # (model, bits, image)
    right = luck[:, :, None] < chance[:, None]
    other = np.where(tail, (label + 1 - HEAD) % (10 - HEAD) + HEAD, (label + 1) % HEAD)
    predicted = np.where(right, label, other)
    rest = generator.integers(0, 10, predicted.shape)
    margin = generator.exponential(2, predicted.shape) * np.where(predicted >= HEAD, 1, -1)
    dims = ("model", "seed", "bits", "image")
    return xr.Dataset(
        {
            "right": (dims, right.astype("int8")),
            "predicted": (dims, predicted.astype("uint8")),
            "best_head": (dims, np.where(predicted < HEAD, predicted, rest % HEAD)),
            "best_tail": (dims, np.where(predicted >= HEAD, predicted, rest % 6 + HEAD)),
            "margin": (dims, margin),
        },
        {
            "model": list(models),
            "seed": range(seeds),
            "bits": list(bits),
            "label": ("image", label),
            "group": ("image", np.where(tail, "tail", "head")),
            "half": ("image", np.where(np.arange(len(label)) % 2, "judge", "choose")),
        },
        {"classes": CLASSES, "counts": list(range(100, 0, -10))},
    )
