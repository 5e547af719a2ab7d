"""The profiles of clusters: what can be said of them where there is no cluster."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from torture_tools import FACTOR

from ltqlib.config import from_profile

ROOT = Path(__file__).parents[2]


def installed(kind: str, name: str) -> bool:
    return importlib.util.find_spec(f"snakemake_{kind}_plugin_{name}") is not None


def without_plugins(profile: dict[str, Any]) -> dict[str, Any]:
    """The settings that Snakemake itself understands, where a plugin is not installed."""
    name, kept = profile["executor"], dict(profile)
    if not installed("executor", name):
        kept = {key: value for key, value in kept.items() if not key.startswith(f"{name}-")}
    if not installed("storage", kept.get("default-storage-provider", "none")):
        kept = {key: value for key, value in kept.items() if not key.startswith("default-storage")}
    return kept | {"executor": name if installed("executor", name) else "dryrun"}


@pytest.mark.parametrize("name", ["default", "slurm", "kubernetes"])
def test_a_dry_run_of_a_profile(name, tally, tmp_path):
    """The same two jobs a network, with the resources that the profile asks for."""
    profile = yaml.safe_load((ROOT / "profiles" / name / "config.yaml").read_text())
    profile.setdefault("executor", "dryrun")
    known = without_plugins(profile)
    for place in ("Snakefile", "_toc.yml", "book"):
        (tmp_path / place).symlink_to(ROOT / place)
    folder = tmp_path / "profile"
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(known))
    grid = ("profile=smoke", f"imbalance_factors={FACTOR}", "seeds=0,1")
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--dry-run", "all", "--workflow-profile", folder,
         "--config", *grid],
        check=False,
        cwd=tmp_path,
        env={**os.environ, "LTQ_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )  # fmt: skip
    missing = "" if known == profile else ", its plugin not installed"
    with tally("cluster", f"profiles/{name}: dry run{missing}") as row:
        said = done.stdout + done.stderr
        row.check(done.returncode == 0, "understood", said[-800:])
        for seed in (0, 1):
            digest = from_profile("smoke", imbalance_factor=FACTOR, seed=seed).digest()
            for step in ("train", "evaluate"):
                row.check(f"runs/{digest}/{step}.done" in said, "jobs", said[-800:])
        for resource, value in profile.get("set-resources", {}).get("train", {}).items():
            row.check(f"{resource}={value}" in said, "resources", f"{resource}: {said[-800:]}")
