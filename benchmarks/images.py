"""CIFAR-10 for a machine without a network: 96 MB of lossless WebP instead of 162 MB of gzip.

    python -m benchmarks.images pack FOLDER      # from data/, here; two minutes of two cores
    python -m benchmarks.images unpack FOLDER    # into data/, there; seconds

FOLDER has ten files a batch, which can travel in several calls; ``unpack`` writes the batches that
are complete. The library holds every batch to its SHA-256 when it reads it, as always.
"""

import argparse
import sys
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from PIL import Image

from ltqlib import paths
from ltqlib.data.cifar10 import FOLDER, SHA256
from ltqlib.data.source import SIZE
from ltqlib.errors import InputError, exit_code
from ltqlib.files import write_whole

PARTS, ROWS, COLUMNS = 10, 25, 40  # of a batch: ten mosaics of 25 x 40 images
BYTES = 1 + 3 * SIZE * SIZE  # of a record: a label and three planes


def pack(folder: Path) -> None:
    """Write the mosaics of every batch, and beside them its labels."""
    folder.mkdir(parents=True, exist_ok=True)
    with Pool() as pool:
        pool.starmap(_pack, [(name, part, folder) for name in SHA256 for part in range(PARTS)])


def _pack(name: str, part: int, folder: Path) -> None:
    path = paths.data(FOLDER) / name
    if not path.is_file():
        raise InputError(f"{path} is missing: put the six batches of CIFAR-10 there")
    records = np.fromfile(path, np.uint8).reshape(-1, BYTES)
    (folder / f"{name}.labels").write_bytes(records[:, 0].tobytes())
    planes = np.split(records[:, 1:], PARTS)[part].reshape(ROWS, COLUMNS, 3, SIZE, SIZE)
    mosaic = planes.transpose(0, 3, 1, 4, 2).reshape(ROWS * SIZE, COLUMNS * SIZE, 3)
    image = Image.fromarray(np.ascontiguousarray(mosaic))
    image.save(folder / f"{name}.{part}.webp", lossless=True, quality=75, method=6, exact=True)


def unpack(folder: Path) -> list[str]:
    """Write the batches whose parts are all there; returns their names."""
    done = []
    for name in SHA256:
        parts = [folder / f"{name}.{part}.webp" for part in range(PARTS)]
        labels = folder / f"{name}.labels"
        if all(path.is_file() for path in (labels, *parts)):
            pixels = np.concatenate([_read(path) for path in parts])
            records = np.column_stack([np.fromfile(labels, np.uint8), pixels])
            write_whole(paths.data(FOLDER) / name, records.tobytes())
            done.append(name)
    return done


def _read(path: Path) -> np.ndarray:
    """Planes of the images of a mosaic, (N, 3 * SIZE * SIZE)."""
    with Image.open(path) as image:
        mosaic = np.asarray(image.convert("RGB"))
    tiles = mosaic.reshape(ROWS, SIZE, COLUMNS, SIZE, 3).transpose(0, 2, 4, 1, 3)
    return tiles.reshape(ROWS * COLUMNS, -1)


def main() -> int:
    """Parse the arguments and do it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("pack", "unpack"))
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    if options.what == "pack":
        pack(options.folder)
    else:
        print(*unpack(options.folder), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
