"""One byte of a file is another, or the file ends early: one clear line, or the same answer."""

import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torture_tools as tools
from PIL import Image
from torture_tools import many

import ltqlib as ltq
from ltqlib import models
from ltqlib.config import from_profile
from ltqlib.errors import InputError
from ltqlib.evidence import store
from ltqlib.experiment.trained import Trained
from ltqlib.training.state import Keeper

CONFIG = from_profile("smoke", imbalance_factor=tools.FACTOR, **tools.FIELDS)
DIGEST = CONFIG.digest()
CLOCK = iter(range(1_700_000_000_000_000_000, 2**62, 10**9))  # a time of its own for each change


@dataclass(frozen=True)
class Target:
    """A file, and a plain value that whoever reads it gets."""

    path: Path
    read: Callable[[], Any]


def outcomes_of(home: Path) -> list[str]:
    return sorted(path.name for path in home.glob(f"*/{DIGEST}/*.nc.xz"))


def reader_of(name: str) -> Callable[[], Any]:
    """How the library reads a file of the network with this name."""
    if name.endswith(".json"):
        return lambda: store.find_record(DIGEST, name)
    if name.endswith(".nc.xz"):
        function, _, key = name.removesuffix(".nc.xz").rpartition("-")
        return lambda: plain(store.recall(DIGEST, function, key))
    classifier = "baseline" if name.startswith("model") else "crt"
    trained = Trained(CONFIG, ltq.load_data("digits", tools.FACTOR), classifier)
    return lambda: bytes_of(trained.load("cpu").state_dict())


def plain(dataset: Any) -> Any:
    assert dataset is not None
    return dataset.to_dict(encoding=False)


def bytes_of(tensors: dict[str, torch.Tensor]) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}


def everything(home: Path) -> Callable[[], Any]:
    """All published files of the network, as the registry vouches for all of them."""
    names = ["network.json", "stage2.json", *dict.fromkeys(outcomes_of(home))]
    readers = [reader_of(name) for name in names]
    return lambda: [read() for read in readers]


def photos(home: Path) -> Target:
    """A folder of images, decoded once and cached."""
    draw = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            folder = home / "photos" / split / name
            folder.mkdir(parents=True)
            for number in range(3):
                pixels = draw.integers(0, 256, (40, 30, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")

    def read() -> Any:
        data = ltq.load_data("folder:photos", "natural")
        told = data.identity, data.note, data.classes, data.counts
        return (*told, data.images.tobytes(), data.labels.tobytes(), data.test.images.tobytes())

    read()
    (cache,) = (home / "runs" / "cache").iterdir()
    return Target(cache, read)


def training_state(home: Path) -> Target:
    """The state of a training after two epochs."""
    path = home / "train-state.safetensors"

    def keeper() -> Keeper:
        network = models.build(CONFIG, 10)
        optimizer = torch.optim.SGD(list(network.parameters()), 0.1, 0.9)
        return Keeper(path, network, optimizer)

    rows = [{"epoch": 1, "loss": 2.25, "seconds": 0.5}, {"epoch": 2, "loss": 1.75, "seconds": 0.5}]
    keeper()._write(path, rows)

    def read() -> Any:
        kept = keeper()
        history = kept.resume()
        fresh = not history
        return fresh or (history, bytes_of(kept.network.state_dict()))

    return Target(path, read)


AFRESH = True  # what training_state reads where there is nothing to go on from


@pytest.fixture
def targets(peaceful, tmp_path, monkeypatch) -> dict[str, Target]:
    """Every kind of file that the library reads again, each in a home where it is the one read."""
    monkeypatch.setenv("LTQ_HOME", str(tmp_path))
    shutil.copytree(peaceful, tmp_path, dirs_exist_ok=True)
    smallest = min(tmp_path.glob(f"runs/{DIGEST}/*.nc.xz"), key=lambda path: path.stat().st_size)
    names = ["network.json", "stage2.json", smallest.name, *("model", "heads")]
    found = {}
    for name in (f"{n}.safetensors" if n in ("model", "heads") else n for n in names):
        kind = "outcomes" if name.endswith(".nc.xz") else name
        published = "checkpoints" if name.endswith(".safetensors") else "results"
        found[f"runs: {kind}"] = Target(tmp_path / "runs" / DIGEST / name, reader_of(name))
        found[f"{published}: {kind}"] = Target(
            tmp_path / published / DIGEST / name, reader_of(name)
        )
    registry = tmp_path / "results" / "registry.txt"
    found["results: registry.txt"] = Target(registry, everything(tmp_path))
    found["runs: cached images"] = photos(tmp_path)
    found["runs: state of a training"] = training_state(tmp_path)
    return found


def only(kind: str, home: Path) -> list[str]:
    """Folders that must be out of the way for a kind of file to be the one that is read."""
    if kind.startswith("checkpoints"):
        return ["runs"]
    working = kind.startswith("runs: ") and ("json" in kind or "outcomes" in kind)
    return ["results"] if working else []


def judge(row: tools.Tally, target: Target, wanted: Any, content: bytes, how: str) -> None:
    """Read a damaged file."""
    put(target.path, content)
    try:
        found = target.read()
    except InputError as error:
        clear = tools.one_line(str(error)) and str(error).count(str(target.path)) >= 1
        told = "registry" in str(error) or "results/" in str(error) or clear
        row.check(clear or (told and tools.one_line(str(error))), "detected", f"{how}: {error}")
    except Exception as error:
        row.failed(f"{how}: {type(error).__name__}: {error}")
    else:
        if found == AFRESH:
            row.saw("computed afresh")
        else:
            row.check(found == wanted, "without effect", f"{how}: read as something else")


def put(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    at = next(CLOCK)
    os.utime(path, ns=(at, at))


def each(targets: dict[str, Target], home: Path) -> Iterator[tuple[str, Target, bytes, Any]]:
    """One target after the other, with what it holds and what is read from it."""
    for kind, target in targets.items():
        content, aside = target.path.read_bytes(), home / "aside"
        for folder in only(kind, home):
            (home / folder).rename(aside)
        yield kind, target, content, target.read()
        put(target.path, content)
        for folder in only(kind, home):
            shutil.rmtree(home / folder, ignore_errors=True)  # of what was read meanwhile
            aside.rename(home / folder)


def test_one_byte_is_another(tally, targets, tmp_path):
    draw, times = random.Random(5), many(10, 80)
    with tally("damage", "one byte of a file is another") as row:
        for kind, target, content, wanted in each(targets, tmp_path):
            for _ in range(times):
                at, by = draw.randrange(len(content)), draw.randrange(1, 256)
                flipped = content[:at] + bytes([content[at] ^ by]) + content[at + 1 :]
                judge(row, target, wanted, flipped, f"{kind}, byte {at} xor {by}")


def test_the_history_in_a_state(tally, tmp_path):
    """What a resumed training would copy into its record: a small part of a large file."""
    target, draw = training_state(tmp_path), random.Random(10)
    content, wanted = target.path.read_bytes(), target.read()
    begin = content.index(b'"history"')
    with tally("damage", "one byte of the history that a training goes on from is another") as row:
        for _ in range(many(20, 200)):
            at, by = begin + draw.randrange(120), draw.randrange(1, 256)
            flipped = content[:at] + bytes([content[at] ^ by]) + content[at + 1 :]
            judge(row, target, wanted, flipped, f"byte {at} xor {by}")


def test_a_file_ends_early(tally, targets, tmp_path):
    draw = random.Random(6)
    with tally("damage", "a file is empty or ends early") as row:
        for kind, target, content, wanted in each(targets, tmp_path):
            lengths = {0, 1, len(content) // 2, len(content) - 1}
            lengths |= {draw.randrange(len(content)) for _ in range(many(0, 12))}
            for length in sorted(lengths):
                judge(row, target, wanted, content[:length], f"{kind}, {length} bytes")
