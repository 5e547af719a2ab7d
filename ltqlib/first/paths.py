"""Where things live. The only file that knows the tree."""

import os
from pathlib import Path


def root() -> Path:
    """The project folder: ``$LTQ_HOME``, else the nearest parent with a ``_toc.yml``, else here."""
    if home := os.environ.get("LTQ_HOME"):
        return Path(home).resolve()
    here = Path.cwd().resolve()
    for folder in (here, *here.parents):
        if (folder / "_toc.yml").exists():
            return folder
    return here


def runs(digest: str = "") -> Path:
    """Working folder of a run (ignored by git): records, checkpoints, resume state."""
    return root() / "runs" / digest


def results(digest: str = "") -> Path:
    """Published records of a run (in git): the evidence behind the book."""
    return root() / "results" / digest


def checkpoints(name: str = "") -> Path:
    """Published checkpoints (in git), one folder a run, with ``registry.txt``."""
    return root() / "checkpoints" / name


def weights(digest: str, name: str) -> Path:
    """Where to read a run's file of weights: the working copy, else the published one."""
    working, published = runs(digest) / name, checkpoints(digest) / name
    return published if published.exists() and not working.exists() else working


def data(name: str = "") -> Path:
    """Data sets on this machine (ignored by git)."""
    return root() / "data" / name


def cache(name: str = "") -> Path:
    """Decoded images and other things that can be made again (ignored by git)."""
    return root() / "runs" / "cache" / name


def book(name: str = "") -> Path:
    """A source file of the book."""
    return root() / "book" / name
