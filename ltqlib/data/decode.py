"""From image files to one uint8 array: any size, any mode, and nothing that harms the reader."""

import os
import stat
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ltqlib.data.names import shown
from ltqlib.data.source import Images
from ltqlib.errors import InputError
from ltqlib.progress import Progress

if TYPE_CHECKING:
    from PIL.Image import Image

# Pillow would also open PostScript (and run Ghostscript on it) under an image's suffix.
FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "PPM", "TIFF", "GIF")
SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"),
)
PIXELS = 2**26  # of one image: more than any camera's, less than a bomb's
WORTH_A_LINE = 2_000  # images from which on progress is shown


def decode_all(files: Sequence[Path], size: int, what: str) -> tuple[Images, int]:
    """All ``files`` as uint8 (N, size, size, 3), and how many of them were of another size.

    Transparent parts become white, 16 bits become 8, of an animation the first frame counts, and
    sides are scaled separately (bilinear, with antialiasing).
    """
    try:
        images = np.empty((len(files), size, size, 3), np.uint8)
    except (MemoryError, ValueError) as error:
        raise InputError(
            f"{len(files)} images of {size}x{size} pixels do not fit into memory: use a smaller "
            "size"
        ) from error
    resized = 0
    progress = Progress(len(files), what) if len(files) >= WORTH_A_LINE else None
    with warnings.catch_warnings():  # of odd metadata: the pixels decode or they do not
        warnings.simplefilter("ignore")
        for row, file in enumerate(files):
            images[row], other = decode(file, size)
            resized += other
            if progress:
                progress.update()
    return images, resized


def decode(file: Path, size: int) -> tuple[Images, bool]:
    """One file as uint8 (size, size, 3), and whether it had another size."""
    from PIL import Image

    check_regular(file)
    try:
        with Image.open(file, formats=FORMATS) as image:
            if image.width * image.height > PIXELS:
                raise Image.DecompressionBombError
            rgb = _rgb(image)
            other = rgb.size != (size, size)
            if other:
                rgb = rgb.resize((size, size), Image.Resampling.BILINEAR)
            return np.asarray(rgb), other
    except Image.DecompressionBombError as error:
        raise InputError(
            f"{shown(file)} has too many pixels (more than {PIXELS:,}): make it smaller, or remove "
            "it"
        ) from error
    except Exception as error:  # Pillow raises nearly everything on damaged files
        raise InputError(
            f"{shown(file)} does not decode as an image ({_reason(error)}): replace or remove it"
        ) from error


def check_regular(file: Path) -> os.stat_result:
    """The status of ``file``; what is no file (a pipe would be waited for, for ever) is refused."""
    try:
        status = file.stat()
    except OSError as error:
        link = "is a symbolic link that cannot be followed" if file.is_symlink() else "is no file"
        raise InputError(f"{shown(file)} {link} ({error.strerror}): remove it") from error
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{shown(file)} is no file but a folder, pipe or device: remove it")
    return status


def _rgb(image: "Image") -> "Image":
    """``image`` with three channels of eight bits."""
    from PIL import Image

    if image.mode == "F":
        raise ValueError("floating-point pixels; save it with 8 bits")
    if image.mode.startswith("I"):  # 16 bits, which convert("RGB") would cut off at 255
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65_535:
            raise ValueError("pixels of 32 bits; save it with 8 bits")
        grey = (values * 255 + 32_767) // 65_535
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        with_alpha = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, with_alpha).convert("RGB")
    return image.convert("RGB")


def _reason(error: Exception) -> str:
    """Why, in a few words, without the path that Pillow's messages repeat."""
    name = type(error).__name__
    if name == "UnidentifiedImageError":
        return "it is none of " + ", ".join(FORMATS)
    text = shown(" ".join(str(error).split()))
    return f"{name}: {text[:120]}" if text else name
