"""Batches that travel as mosaics come back byte for byte."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from ltqlib import paths
from ltqlib.data.cifar10 import FOLDER, SHA256

ROOT = Path(__file__).parents[2]


@pytest.fixture
def images():
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("images", ROOT / "benchmarks" / "images.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_batch_comes_back_byte_for_byte_once_it_is_complete(images, home, monkeypatch):
    monkeypatch.setattr(images, "SHA256", dict(list(SHA256.items())[:1]))
    for constant, small in (("PARTS", 3), ("ROWS", 2), ("COLUMNS", 4)):
        monkeypatch.setattr(images, constant, small)
    (name,) = images.SHA256
    batch = paths.data(FOLDER) / name
    batch.parent.mkdir(parents=True)
    records = np.random.default_rng(0).integers(0, 256, (3 * 2 * 4, images.BYTES), dtype=np.uint8)
    records.tofile(batch)
    folder = home / "packed"
    folder.mkdir()
    for part in range(images.PARTS):
        images._pack(name, part, folder)
    batch.unlink()
    missing = folder / f"{name}.1.webp"
    kept = missing.read_bytes()
    missing.unlink()
    assert images.unpack(folder) == []
    assert not batch.exists()
    missing.write_bytes(kept)
    assert images.unpack(folder) == [name]
    assert batch.read_bytes() == records.tobytes()
