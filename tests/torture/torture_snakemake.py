"""Snakemake as a process of its own, in a store of its own."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torture_tools as tools

ROOT = Path(__file__).parents[2]


def furnish(home: Path) -> Path:
    """``home`` with what Snakemake needs of the project."""
    home.mkdir()
    for name in ("Snakefile", "_toc.yml", "profiles", "book"):
        (home / name).symlink_to(ROOT / name)
    return home


def snakemake(
    home: Path, *options: str, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """The smallest network, both stages; what it tells stands in ``home/told``."""
    recipe = "recipes=" + "+".join(f"{name}={value}" for name, value in tools.FIELDS.items())
    grid = (
        "profile=smoke",
        f"imbalance_factors={tools.FACTOR}",
        recipe,
        "until=decouple",
        "device=cpu",
    )
    with home.joinpath("told").open("wb") as told:
        return subprocess.Popen(
            [sys.executable, "-m", "snakemake", "all", *options, "--config", *grid],
            cwd=home,
            env={**(environment or os.environ), "LTQ_HOME": str(home)},
            stdout=told,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def somebody_computes(home: Path) -> bool:
    """Whether a process holds the lock of a network."""
    for lock in home.glob("runs/*/.lock"):
        with lock.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
    return False


def of_training(home: Path) -> dict[str, Any]:
    """Both stages in a store, without the evaluations that Snakemake is not asked for here."""
    return {
        name: said
        for name, said in tools.contents(home / "runs").items()
        if name.count("/") == 1 and not name.endswith(".nc.xz")  # runs/.lock is the publisher's
    }
