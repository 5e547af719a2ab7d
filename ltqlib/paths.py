"""Where things live. The only file that knows the tree."""

import os
from pathlib import Path

from ltqlib.errors import InputError


def root() -> Path:
    """The project folder: ``$LTQ_HOME``, else the nearest parent with a ``_toc.yml``, else here.

    Raises:
        InputError: the working folder does not exist any more, or ``~user`` names nobody.
    """
    try:
        if home := os.environ.get("LTQ_HOME"):
            return Path(home).expanduser().resolve()
        here = Path.cwd().resolve()
    except FileNotFoundError as error:
        raise InputError(
            "the working folder does not exist any more: change to another one, or set LTQ_HOME"
        ) from error
    except RuntimeError as error:  # ~user of nobody, or symbolic links in a circle
        raise InputError(f"LTQ_HOME is {home!r}: {error}; set it to the project folder") from error
    for folder in (here, *here.parents):
        if (folder / "_toc.yml").exists():
            return folder
    return here


def runs(digest: str = "") -> Path:
    """Working folder of a network (ignored by git): evaluations, weights, resume state."""
    return root() / "runs" / digest


def results(digest: str = "") -> Path:
    """Published evaluations of a network (in git): the evidence behind the book."""
    return root() / "results" / digest


def checkpoints(name: str = "") -> Path:
    """Published checkpoints (in git), one folder a network, with ``registry.txt``."""
    return root() / "checkpoints" / name


def data(name: str = "") -> Path:
    """Data sets on this machine (ignored by git)."""
    return root() / "data" / name


def cache(name: str = "") -> Path:
    """Decoded images and other things that can be made again (ignored by git)."""
    return root() / "runs" / "cache" / name


def book(name: str = "") -> Path:
    """A source file of the book."""
    return root() / "book" / name


def benchmarks(name: str = "") -> Path:
    """A script that measures this machine, or the record that it wrote."""
    return root() / "benchmarks" / name
