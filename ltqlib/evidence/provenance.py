"""Where a record comes from: code, packages, machine, time."""

import datetime
import importlib.metadata
import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

PACKAGES = (
    "ltqlib",
    "numpy",
    "torch",
    "torchvision",
    "pillow",
    "safetensors",
    "scikit-learn",
    "xarray",
)


def provenance() -> dict[str, Any]:
    """Commit and dirty flag, package versions, Python, machine, and the time (UTC)."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {
        "created": now,
        **git_state(Path(__file__).parent),
        "python": platform.python_version(),
        "packages": versions(PACKAGES),
        "machine": machine(),
    }


def git_state(folder: Path) -> dict[str, Any]:
    """``{"commit", "dirty"}`` of the checkout that holds ``folder``; None outside of one."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True
            )
        except (OSError, subprocess.CalledProcessError):
            return None
        return done.stdout.strip()

    status = git("status", "--porcelain", "--untracked-files=no", "--", ".")
    return {"commit": git("rev-parse", "HEAD"), "dirty": None if status is None else bool(status)}


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """Installed versions; a package that is not installed is left out."""
    found = {}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def machine() -> str:
    """The processor in words, with the number of cores that this process may use."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = names[0].split(":", 1)[1].strip() if names else model
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{model}, {cores} cores"


class Stopwatch:
    """The provenance of what is computed inside, with the seconds it took."""

    def __enter__(self) -> "Stopwatch":
        self._origin, self._started = provenance(), time.perf_counter()
        self._seconds = 0.0
        return self

    def __exit__(self, *_: object) -> None:
        self._seconds = round(time.perf_counter() - self._started, 1)

    def provenance(self) -> dict[str, Any]:
        """As :func:`provenance`, and ``seconds``."""
        return {**self._origin, "seconds": self._seconds}
