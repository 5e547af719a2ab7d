"""Image folders of the reader's: test sets with a folder a class, and images without labels."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ltqlib.data import Images, LongTail, Split, fingerprint
from ltqlib.data.decode import SUFFIXES, decode_all
from ltqlib.data.names import class_names, shown
from ltqlib.errors import InputError

MOST, LOOKED_AT = 224, 100  # pixels of a side; files that are opened to find it


def usual_side(place: str) -> int:
    """Pixels of a side that most images of a folder have (the shorter one), 8 to 224.

    Raises:
        InputError: there is no image.
    """
    sides = []
    for file in _files(place)[:LOOKED_AT]:
        try:
            with Image.open(file) as image:
                sides.append(min(image.size))
        except (OSError, ValueError, Image.DecompressionBombError):
            continue  # the decoder says what is wrong with it
    values, counts = np.unique(sides or [MOST], return_counts=True)
    return int(np.clip(values[counts.argmax()], 8, MOST))


def read_unlabelled(place: str, size: int) -> Images:
    """All images below a folder, (N, size, size, 3).

    Raises:
        InputError: there is none, or one does not decode.
    """
    return decode_all(_files(place), size, f"decoding {shown(Path(place).name)}")[0]


def read_test(name: str, place: str, like: LongTail, size: int) -> Split:
    """A further test set, ``<class>/*`` or ``test/<class>/*`` below a folder.

    Classes without images are not judged.

    Raises:
        InputError: no folder, a class that the model does not know, an image that does not decode.
    """
    root = Path(place).expanduser()
    root = root / "test" if (root / "test").is_dir() else root
    files, labels = _labelled(name, root, like.classes)
    images, _ = decode_all(files, size, f"decoding {shown(name)}")
    array = np.array(labels, np.int64)
    sizes = tuple(np.bincount(array, minlength=len(like.classes)).tolist())
    identity = f"images:{fingerprint(images, array)}"
    return Split(
        name, identity, like.classes, sizes, like.counts, like.groups, lambda: (images, array),
        note=f"image folder {shown(root.name)}",
    )  # fmt: skip


def _labelled(name: str, root: Path, classes: Sequence[str]) -> tuple[list[Path], list[int]]:
    files: list[Path] = []
    labels: list[int] = []
    folders = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    for folder, called in zip(folders, class_names([f.name for f in folders]), strict=True):
        if called not in classes:
            raise InputError(
                f"test set {shown(name)!r} has a class {called!r} that the data do not have: "
                "remove the folder, or name it like a class"
            )
        mine = sorted(file for file in folder.iterdir() if _is_image(file))
        files += mine
        labels += [list(classes).index(called)] * len(mine)
    if not files:
        raise InputError(f"test set {shown(name)!r}: {shown(root)} has no <class>/ images")
    return files, labels


def _files(place: str) -> list[Path]:
    root = Path(place).expanduser()
    found = sorted(file for file in root.rglob("*") if _is_image(file)) if root.is_dir() else []
    if not found:
        raise InputError(f"{shown(place)} has no images: give a folder of image files")
    return found


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
