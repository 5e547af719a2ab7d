"""Test images under corruption: noise, blur, contrast, JPEG, as in CIFAR-10-C.

Hendrycks and Dietterich (ICLR 2019, "Benchmarking neural network robustness to common corruptions
and perturbations"); the constants for images of 32 pixels are those of their CIFAR-10-C, for larger
ones those of ImageNet-C. Of their blurs the Gaussian one is here, which needs no file. Images are
uint8 and stay so; the same image with the same seed gives the same pixels.
"""

import dataclasses
import io
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ltqlib.data import Images, Split
from ltqlib.errors import InputError

SMALL = 64  # pixels of a side up to which the constants of CIFAR-10-C are used
# severity 1 to 5: CIFAR-10-C, ImageNet-C
STRENGTHS: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "noise": ((0.04, 0.06, 0.08, 0.09, 0.10), (0.08, 0.12, 0.18, 0.26, 0.38)),
    "blur": ((0.4, 0.6, 0.7, 0.8, 1.0), (1, 2, 3, 4, 6)),
    "contrast": ((0.75, 0.5, 0.4, 0.3, 0.15), (0.4, 0.3, 0.2, 0.1, 0.05)),
    "jpeg": ((80, 65, 58, 50, 40), (25, 18, 15, 10, 7)),
}
SEVERITIES = (1, 2, 3, 4, 5)
Floats = npt.NDArray[np.float64]


def corrupt(images: Images, kind: str, severity: int = 3, seed: int = 0) -> Images:
    """Corrupted copies of images.

    Args:
        images: uint8 (N, H, W, 3).
        kind: ``noise`` (Gaussian), ``blur`` (Gaussian), ``contrast`` or ``jpeg``.
        severity: 1 to 5.
        seed: of the noise; the others have no chance in them.

    Returns:
        uint8, the same shape.

    Raises:
        InputError: an unknown kind or severity.
    """
    if kind not in STRENGTHS:
        raise InputError(f"corruption {kind!r} is unknown: use one of {', '.join(STRENGTHS)}")
    if severity not in SEVERITIES:
        raise InputError(f"severity {severity!r}: give 1 to 5")
    strength = STRENGTHS[kind][images.shape[1] > SMALL][severity - 1]
    apply, generator = _KINDS[kind], np.random.default_rng(seed)
    found = np.empty_like(images)
    for at, image in enumerate(images):
        found[at] = apply(image, strength, generator)
    return found


def corrupted(
    split: Split, kinds: Iterable[str] = tuple(STRENGTHS), severity: int = 3
) -> dict[str, Split]:
    """Test sets by name (``noise 3``), each the images of ``split`` under one corruption."""
    return {f"{kind} {severity}": _under(split, kind, severity) for kind in kinds}


def _under(split: Split, kind: str, severity: int) -> Split:
    return dataclasses.replace(
        split,
        name=f"{kind} {severity}",
        identity=f"{kind}-{severity}:{split.identity}",
        read=lambda: (corrupt(split.images, kind, severity), split.labels),
    )


def _noise(image: Images, strength: float, generator: np.random.Generator) -> Floats:
    return 255 * np.clip(image / 255 + generator.normal(size=image.shape, scale=strength), 0, 1)


def _blur(image: Images, strength: float, generator: np.random.Generator) -> Floats:
    # as skimage.filters.gaussian, which the recipe calls: nearest pixels beyond the edge
    sigma = (strength, strength, 0)
    return 255 * np.clip(ndimage.gaussian_filter(image / 255, sigma, mode="nearest"), 0, 1)


def _contrast(image: Images, strength: float, generator: np.random.Generator) -> Floats:
    mean = (image / 255).mean(axis=(0, 1), keepdims=True)
    return 255 * np.clip((image / 255 - mean) * strength + mean, 0, 1)


def _jpeg(image: Images, strength: float, generator: np.random.Generator) -> Images:
    from PIL import Image

    held = io.BytesIO()
    Image.fromarray(image).save(held, "JPEG", quality=int(strength))
    return np.asarray(Image.open(held).convert("RGB"))


_KINDS: Mapping[str, Callable[..., npt.NDArray]] = {
    "noise": _noise,
    "blur": _blur,
    "contrast": _contrast,
    "jpeg": _jpeg,
}
