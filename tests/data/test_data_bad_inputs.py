"""Bad inputs made by hand: one clear line within a second, and no file left behind."""

import os
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ltqlib.config import PROFILES, RunConfig, from_dict, from_profile
from ltqlib.data import load_data
from ltqlib.errors import InputError

PHOTOS = "folder:photos"
BIRDS = "folder:0123456789abcdef"
NO_NUMBER = "is not a number: give n_min/n_max in (0, 1], or 'natural'"

# arguments of load_data, and a part of the line that they give
ARGUMENTS: dict[str, tuple[dict[str, Any], str]] = {
    "source unknown": ({"source": "mnist"}, "'mnist' is unknown"),
    "source in capitals": ({"source": "CIFAR10"}, "'CIFAR10' is unknown"),
    "source with a line break": ({"source": "cifar10\n"}, r"'cifar10\n' is unknown"),
    "source empty": ({"source": ""}, "'' is unknown"),
    "source a path alone": ({"source": "photos"}, "use cifar10, digits or folder:PATH"),
    "source None": ({"source": None}, "None is no text"),
    "source a Path": ({"source": Path("photos")}, "is no text"),
    "source bytes": ({"source": b"cifar10"}, "is no text"),
    "source an array": ({"source": np.zeros((2, 2))}, "is no text"),
    "folder of nothing": ({"source": "folder:"}, "'folder:' is unknown"),
    "folder that is not there": ({"source": "folder:nowhere"}, "nowhere does not exist"),
    "folder that is a file": ({"source": "folder:file.zip"}, "file.zip is not a folder"),
    "folder with NUL": ({"source": "folder:a\0b"}, "NEEDS"),
    "folder with a lone surrogate": ({"source": "folder:\ud800"}, "NEEDS"),
    "folder with a line break": ({"source": "folder:a\nb"}, r"a\nb does not exist"),
    "folder with a long name": ({"source": "folder:" + "a" * 5_000}, "NEEDS"),
    "folder of a deep path": ({"source": "folder:" + "a/" * 5_000}, "NEEDS"),
    "folder of nobody": ({"source": "folder:~no-such-user-here/x"}, "NEEDS"),
    "folder in a circle": ({"source": "folder:circle"}, "NEEDS"),
    "folder by its identity": ({"source": BIRDS}, "does not exist"),
    "folder without train": ({"source": "folder:empty"}, "empty/train does not exist"),
    "factor above one": ({"imbalance_factor": 100}, "use its reciprocal 0.01"),
    "factor zero": ({"imbalance_factor": 0}, "not in (0, 1]"),
    "factor negative": ({"imbalance_factor": -0.1}, "not in (0, 1]"),
    "factor NaN": ({"imbalance_factor": float("nan")}, NO_NUMBER),
    "factor infinite": ({"imbalance_factor": float("inf")}, NO_NUMBER),
    "factor huge": ({"imbalance_factor": 10**400}, "imbalance_factor"),
    "factor tiny": ({"imbalance_factor": 5e-324}, "leaves the rarest class without an image"),
    "factor as text": ({"imbalance_factor": "0.1"}, NO_NUMBER),
    "factor True": ({"imbalance_factor": True}, NO_NUMBER),
    "factor None": ({"imbalance_factor": None}, NO_NUMBER),
    "factor complex": ({"imbalance_factor": 0.1j}, NO_NUMBER),
    "factor an array": ({"imbalance_factor": np.array([0.1, 0.2])}, NO_NUMBER),
    "factor almost natural": ({"imbalance_factor": "Natural"}, NO_NUMBER),
    "order too short": ({"class_order": (0, 1)}, "names 2 classes, the data has 10"),
    "order with a class twice": ({"class_order": [0] * 10}, "not a permutation"),
    "order from one": ({"class_order": range(1, 11)}, "not a permutation"),
    "order of floats": ({"class_order": [float(n) for n in range(10)]}, "no list of labels"),
    "order of truths": ({"class_order": [True, False, *range(2, 10)]}, "no list of labels"),
    "order as text": ({"class_order": "0123456789"}, "no list of labels"),
    "order a number": ({"class_order": 3}, "no list of labels"),
    "order None": ({"class_order": None}, "no list of labels"),
    "order of natural counts": (
        {"imbalance_factor": "natural", "class_order": range(10)},
        "own counts rank the classes",
    ),
    "groups unknown": ({"groups": "rare"}, "groups 'rare' are unknown"),
    "groups None": ({"groups": None}, "groups None are unknown"),
    "groups a list": ({"groups": [1, 2]}, "are unknown"),
    "groups with no such class": ({"groups": {"rare": [10]}}, "names 10, which is no class"),
    "groups that overlap": ({"groups": {"a": [1], "b": [1, 2]}}, "must not overlap"),
    "groups in groups": ({"groups": {"a": {"b": [1]}}}, "names 'b', which is no class"),
    "groups endless": ({"groups": {"a": iter(int, 1)}}, "'0' is in group 'a' and in 'a'"),
    "size of the digits": ({"size": 64}, "only folders resize"),
    "size zero": ({"source": PHOTOS, "size": 0}, "size 0: give a whole number"),
    "size huge": ({"source": PHOTOS, "size": 10**9}, "give a whole number from 8 to 512"),
    "size a half": ({"source": PHOTOS, "size": 32.5}, "size 32.5: give a whole number"),
    "size as text": ({"source": PHOTOS, "size": "32"}, "size '32': give a whole number"),
    "size True": ({"source": PHOTOS, "size": True}, "size True: give a whole number"),
}


def one_line_soon(call: Callable[[], object], home: Path) -> str:
    """The line of the InputError that ``call`` gives within a second of work, leaving no file."""
    before = sorted(home.rglob("*"))
    started = time.process_time()
    with pytest.raises(InputError) as caught:
        call()
    assert time.process_time() - started < 1
    assert sorted(home.rglob("*")) == before
    line = str(caught.value)
    assert line.isprintable()
    return line


def expected(part: str) -> str:
    return "a folder source needs train/<class>/ and test/<class>/" if part == "NEEDS" else part


@pytest.mark.parametrize("case", ARGUMENTS)
def test_arguments_of_load_data(case, home, make_folder):
    make_folder()
    (home / "file.zip").touch()
    (home / "empty").mkdir()
    (home / "circle").symlink_to("circle")
    told, part = ARGUMENTS[case]
    line = one_line_soon(lambda: load_data(**{"source": "digits", **told}), home)
    assert expected(part) in line


def remove(name: str) -> Callable[[Path], object]:
    return lambda folder: shutil.rmtree(folder / name)


def no_suffix(folder: Path) -> None:
    for file in (folder / "train" / "dog").iterdir():
        file.rename(file.with_suffix(".txt"))


def one_class(folder: Path) -> None:
    for split in ("train", "test"):
        shutil.rmtree(folder / split / "dog")


def flat(folder: Path) -> None:
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            for file in (folder / split / name).iterdir():
                file.rename(folder / split / f"{name}-{file.name}")
            (folder / split / name).rmdir()


def replaced(content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / "train" / "dog" / "001.png").write_bytes(content)


def truncated(folder: Path) -> None:
    file = folder / "test" / "cat" / "000.png"
    file.write_bytes(file.read_bytes()[:200])


def linked(name: str, target: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).symlink_to(target)


def pipe(folder: Path) -> None:
    os.mkfifo(folder / "train" / "cat" / "pipe.png")


def sock(folder: Path) -> None:
    here = os.getcwd()
    os.chdir(folder / "train" / "cat")  # a socket's path is short
    try:
        with socket.socket(socket.AF_UNIX) as end:
            end.bind("socket.png")
    finally:
        os.chdir(here)


def stray_bytes(folder: Path) -> None:
    os.mkdir(os.path.join(os.fsencode(folder), b"train", b"\xff\n\xe9"))


# what was done to a folder, and a part of the line that it gives
FOLDERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no train": (remove("train"), "photos/train does not exist"),
    "no test": (remove("test"), "photos/test does not exist"),
    "class not in train": (remove("train/cat"), "photos/train has no image of class 'cat'"),
    "class not in test": (remove("test/cat"), "photos/test has no image of class 'cat'"),
    "other suffixes": (no_suffix, "photos/train has no image of class 'dog'"),
    "one class": (one_class, "has 1 class folder(s)"),
    "no class folders": (flat, "has 0 class folder(s)"),
    "class empty": (lambda folder: (folder / "train" / "elk").mkdir(), "no image of class 'elk'"),
    "train a file": (
        lambda folder: (remove("train")(folder), (folder / "train").touch()),
        "photos/train (Not a directory)",
    ),
    "image a folder": (
        lambda folder: (folder / "train" / "cat" / "x.png").mkdir(),
        "cat/x.png is no file but a folder, pipe or device",
    ),
    "image empty": (replaced(b""), "dog/001.png does not decode"),
    "image a text": (replaced(b"no pixels here"), "dog/001.png does not decode"),
    "image a pickle": (replaced(b"\x80\x04\x95\x0b\0\0\0"), "dog/001.png does not decode"),
    "image an SVG": (replaced(b"<svg onload='alert(1)'/>"), "dog/001.png does not decode"),
    "image a header alone": (replaced(b"\x89PNG\r\n\x1a\n"), "dog/001.png does not decode"),
    "image truncated": (truncated, "test/cat/000.png does not decode"),
    "image a link to itself": (linked("train/cat/a.png", "a.png"), "cat/a.png is a symbolic link"),
    "image a link to nowhere": (linked("train/cat/a.png", "b.png"), "cat/a.png is a symbolic link"),
    "image a device": (linked("train/cat/a.png", "/dev/zero"), "is no file but a folder, pipe"),
    "image a pipe": (pipe, "pipe.png is no file but a folder, pipe or device"),
    "image a socket": (sock, "socket.png is no file but a folder, pipe or device"),
    "class a link to itself": (linked("train/elk", "elk"), "train/elk is a symbolic link"),
    "class a link to nowhere": (linked("test/elk", "gone"), "test/elk is a symbolic link"),
    "class a link upwards": (linked("train/up", ".."), "no image of class 'up'"),
    "class of stray bytes": (stray_bytes, r"no image of class '\xff\n\xe9'"),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_image_folders(case, home, make_folder):
    damage, part = FOLDERS[case]
    damage(make_folder())
    assert part in one_line_soon(lambda: load_data(PHOTOS, "natural"), home)


# fields of a configuration, and a part of the line that they give
FIELDS: dict[str, tuple[dict[str, Any], str]] = {
    "data a path": ({"data": "folder:/home/me/birds"}, "names a folder by its contents"),
    "data a relative path": ({"data": "folder:birds"}, "names a folder by its contents"),
    "data unknown": ({"data": "cifar100"}, "'cifar100' is unknown"),
    "data None": ({"data": None}, "None is unknown"),
    "data a list": ({"data": ["cifar10"]}, "['cifar10'] is unknown"),
    "factor above one": ({"imbalance_factor": 50}, "use its reciprocal 0.02"),
    "factor huge": ({"imbalance_factor": 10**400}, "imbalance_factor"),
    "factor a list": ({"imbalance_factor": [0.1]}, NO_NUMBER),
    "factor an array": ({"imbalance_factor": np.array([0.1, 0.2])}, NO_NUMBER),
    "order of natural counts": (
        {"imbalance_factor": "natural", "class_order": tuple(range(10))},
        "own counts rank the classes",
    ),
    "order a list of words": ({"class_order": ("cat", 1)}, "class_order"),
    "order a number": ({"class_order": 3}, "class_order"),
    "order None": ({"class_order": None}, "class_order"),
    "order as text": ({"class_order": "01"}, "class_order"),
    "order of truths": ({"class_order": (False, True)}, "class_order"),
    "order of floats": ({"class_order": (0.0, 1.0)}, "class_order"),
    "order with gaps": ({"class_order": (0, 2)}, "class_order (0, 2) is not a permutation"),
    "seed negative": ({"seed": -1}, "seed is -1: it must be a whole number"),
    "seed a half": ({"seed": 0.5}, "seed is 0.5: it must be a whole number"),
    "seed True": ({"seed": True}, "seed is True: it must be a whole number"),
    "seed huge": ({"seed": 2**63}, "at most"),
    "seed an array": ({"seed": np.array([1, 2])}, "seed is array([1, 2]): it must be"),
    "width zero": ({"width": 0}, "width is 0: it must be a number"),
    "width NaN": ({"width": float("nan")}, "width is nan: it must be a number"),
    "lr infinite": ({"lr": float("inf")}, "lr is inf: it must be a number"),
    "lr as text": ({"lr": "0.1"}, "lr is '0.1': it must be a number"),
    "lr huge": ({"lr": 10**400}, "lr is 1000"),
    "epochs None": ({"epochs": None}, "epochs is None: it must be a whole number"),
    "batch of zero": ({"batch_size": 0}, "batch_size is 0: it must be a whole number"),
    "arch unknown": ({"arch": "alexnet"}, "arch 'alexnet' is unknown"),
    "arch an array": ({"arch": np.array(["vgg16", "resnet32"])}, "is unknown"),
    "loss None": ({"loss": None}, "loss None is unknown"),
    "sampler a list": ({"sampler": ["class"]}, "sampler ['class'] is unknown"),
    "key unknown": ({"depth": 3}, "unknown configuration key 'depth'"),
    "key empty": ({"": 3}, "unknown configuration key ''"),
    "key with a line break": ({"a\nb": 3}, r"unknown configuration key 'a\nb'"),
}
WHOLE: dict[str, tuple[Callable[[], object], str]] = {
    "profile unknown": (lambda: from_profile("desktop"), "'desktop' is unknown"),
    "profile None": (lambda: from_profile(None), "None is unknown"),  # type: ignore[arg-type]
    "profile a list": (lambda: from_profile(["smoke"]), "is unknown"),  # type: ignore[arg-type]
    "no fields": (lambda: from_dict({}), "configuration"),
    "fields without data": (lambda: from_dict({"profile": "smoke"}), "configuration"),
    "fields a list": (lambda: from_dict([1, 2]), "configuration"),  # type: ignore[arg-type]
    "fields None": (lambda: from_dict(None), "configuration"),  # type: ignore[arg-type]
    "keys that are numbers": (
        lambda: from_dict({"profile": "smoke", "data": "digits", 3: 4, "x": 5}),  # type: ignore[dict-item]
        "unknown configuration key",
    ),
    "profile of a configuration": (lambda: RunConfig(None, "digits"), "profile"),  # type: ignore[arg-type]
    "profile with a line break": (lambda: RunConfig("a\nb", "digits"), r"'a\nb'"),
}


@pytest.mark.parametrize("case", FIELDS)
def test_fields_of_a_configuration(case, home):
    told, part = FIELDS[case]
    assert part in one_line_soon(lambda: from_profile("smoke", **told), home)
    if told.keys() <= PROFILES["smoke"].keys() | RunConfig("smoke", "digits").public().keys():
        fields = {"profile": "smoke", "data": "digits", **told}
        assert part in one_line_soon(lambda: RunConfig(**fields), home)


@pytest.mark.parametrize("case", WHOLE)
def test_whole_configurations(case, home):
    call, part = WHOLE[case]
    assert part in one_line_soon(call, home)
