"""Small networks that are not: Gaussian logits with seeds, bits and a long tail."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import xarray as xr

HEAD, CLASSES = 4, 10


def class_weights(classes: int, plus: Iterable[int], minus: Iterable[int] = ()) -> npt.NDArray:
    """Weights (classes,) of "mean accuracy of ``plus`` minus mean accuracy of ``minus``"."""
    one, other = (np.isin(np.arange(classes), list(group)) for group in (plus, minus))
    return one / one.sum() - other / max(1, other.sum())


def gaussian_logits(
    images: int = 40,
    seeds: int = 3,
    noises: tuple[float, ...] = (1.0, 1.15),
    tail_shift: float = -1.0,
    seed: int = 0,
) -> tuple[npt.NDArray, npt.NDArray]:
    """Logits (seeds, len(noises), N, C) and labels (N,), ``images`` of each class.

    An image has an evidence of its own, common to seeds and widths, a seed some more, and a width
    adds noise; the tail's logits are shifted.
    """
    generator = np.random.default_rng(seed)
    labels = np.tile(np.arange(CLASSES), images)
    signal = 2.8 * np.eye(CLASSES)[labels] + generator.normal(size=(len(labels), CLASSES))
    own = generator.normal(0, 0.7, (seeds, 1, *signal.shape))
    extra = [generator.normal(0, np.sqrt(noise**2 - 1), (seeds, *signal.shape)) for noise in noises]
    logits = signal + own + np.stack(extra, axis=1)
    logits[..., HEAD:] += tail_shift
    return logits, labels


def two_groups(logits: npt.NDArray, labels: npt.NDArray, bits: tuple[int, ...]) -> xr.Dataset:
    """Outcomes of logits (seeds, bits, N, C), as evaluate returns them; head first."""
    head, tail = logits[..., :HEAD], logits[..., HEAD:]
    predicted = logits.argmax(-1)
    dims = ("seed", "bits", "image")
    return xr.Dataset(
        {
            "predicted": (dims, predicted),
            "right": (dims, predicted == labels),
            "best_head": (dims, head.argmax(-1)),
            "best_tail": (dims, HEAD + tail.argmax(-1)),
            "margin": (dims, tail.max(-1) - head.max(-1)),
        },
        coords={
            "seed": range(len(logits)),
            "bits": list(bits),
            "label": ("image", labels),
            "group": ("image", np.where(labels < HEAD, "head", "tail")),
            "half": ("image", np.where(np.arange(len(labels)) // CLASSES % 2, "judge", "choose")),
        },
    )
