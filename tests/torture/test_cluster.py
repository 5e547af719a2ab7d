"""The profiles of clusters: dry runs of each, and a SLURM of one node where it is installed."""

import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torture_slurm as slurm
import torture_tools as tools
import yaml
from torture_snakemake import furnish, of_training, snakemake, somebody_computes
from torture_tools import FACTOR, many

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


@pytest.mark.skipif(bool(slurm.missing()), reason=f"not installed: {', '.join(slurm.missing())}")
def test_the_grid_goes_through_slurm(tally, peaceful, tmp_path):
    """Jobs that the scheduler kills included: the results are those of a life without it."""
    home = furnish(tmp_path / "home")
    options = ("--workflow-profile=profiles/slurm", "--slurm-status-command=squeue",
               "--slurm-init-seconds-before-status-checks=1", "--latency-wait=5")  # fmt: skip
    with (
        tally("cluster", "SLURM of one node: the grid, jobs killed by the scheduler") as row,
        slurm.cluster(tmp_path / "slurm") as environment,
    ):
        process = snakemake(home, *options, environment=environment)
        for kills in range(many(1, 3)):
            while process.poll() is None and not somebody_computes(home):
                time.sleep(0.02)
            jobs = slurm.running(environment)
            subprocess.run(["scancel", *jobs], env=environment, check=True)
            while somebody_computes(home):
                time.sleep(0.02)
            row.check(bool(jobs), "job killed", f"no job to kill, {kills} were")
        process.wait()
        told = (home / "told").read_text()
        row.check(process.returncode == 0, "grid done", told[-800:])
        wrong = tools.differences(of_training(home), of_training(peaceful))
        row.check(not wrong, "as if not killed", f"{wrong}: {told[-800:]}")
        submitted = told.count("has been submitted with SLURM jobid")
        row.check(submitted >= 2 + many(1, 3), "submitted again", told[-800:])
