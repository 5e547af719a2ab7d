"""The Snakefile for real, on the smoke profile: a kill in mid-training, the grid, papermill copies.

These are the slow tests that `make test` ends with: the pipeline from images to executed notebooks.
"""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ltqlib.first import experiment, records
from ltqlib.first.config import from_profile

ROOT = Path(__file__).parent.parent.parent
FACTORS = (0.1, 0.01)
DIGESTS = {factor: from_profile("smoke", imbalance_factor=factor).digest() for factor in FACTORS}
GRID = ("--config", "profile=smoke", "imbalance_factors=0.1,0.01")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of what Snakemake needs; records of one test are there for the next."""
    folder = tmp_path_factory.mktemp("tree")
    (folder / "book").mkdir()
    for name in ("Snakefile", "_config.yml", "_toc.yml", "book/factor.md"):
        shutil.copy(ROOT / name, folder / name)
    shutil.copytree(ROOT / "profiles", folder / "profiles")
    yield folder
    shutil.rmtree(folder)


def start(tree: Path, *arguments: str) -> subprocess.Popen[str]:
    """Snakemake in its own process group, as the head of whatever it starts."""
    kept = {k: v for k, v in os.environ.items() if k not in ("LTQ_FRESH", "LTQ_DATA")}
    return subprocess.Popen(
        [sys.executable, "-m", "snakemake", *arguments],
        cwd=tree,
        env={**kept, "LTQ_HOME": str(tree)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def snakemake(tree: Path, *arguments: str) -> str:
    """Run Snakemake to its end; its output, which is shown where it fails."""
    process = start(tree, *arguments)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    return output


def history(state: Path) -> list[dict[str, float]]:
    """The epochs that the resume state of a training holds; none where there is no state."""
    from safetensors import safe_open

    if not state.exists():
        return []
    with safe_open(state, framework="np") as file:
        return json.loads(file.metadata()["history"])


def somebody_computes(folder: Path) -> bool:
    """Whether a living process holds the lock of a run."""
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_a_dry_run_names_the_runs(tree: Path) -> None:
    output = snakemake(tree, "--dry-run", *GRID)
    for digest in DIGESTS.values():
        assert f"runs/{digest}/train.done" in output
        assert f"runs/{digest}/measure.done" in output


def test_a_killed_training_loses_no_finished_epoch(tree: Path) -> None:
    folder = tree / "runs" / DIGESTS[0.1]
    state = folder / "train-state.safetensors"
    target = f"runs/{DIGESTS[0.1]}/train.done"
    process = start(tree, *GRID, "--", target)
    while len(history(state)) < 3:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    assert somebody_computes(folder)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not somebody_computes(folder)
    kept = history(state)
    assert not (folder / "train.json").exists()
    assert not (tree / target).exists()

    snakemake(tree, *GRID, "--", target)
    whole = records.read(folder / "train.json")["payload"]
    assert 3 <= len(kept) < whole["epochs"] == len(whole["history"])
    # seconds are the clock's: had an epoch that was finished been computed again, they would differ
    assert whole["history"][: len(kept)] == kept


def test_the_grid_and_its_papermill_copies(tree: Path) -> None:
    snakemake(tree, *GRID)
    for digest in DIGESTS.values():
        for step in (*experiment.STEPS["mpq"].needs, "ptq", "mpq"):
            assert records.read(tree / "runs" / digest / f"{step}.json")["digest"] == digest
    written = {path: path.stat().st_mtime_ns for path in tree.glob("runs/*/*.json")}
    snakemake(tree, *GRID)
    assert {path: path.stat().st_mtime_ns for path in written} == written

    copies = [f"book/executed/factor-{factor:g}.ipynb" for factor in FACTORS]
    snakemake(tree, *copies)
    for factor, copy in zip(FACTORS, copies, strict=True):
        notebook = json.loads((tree / copy).read_text())
        code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
        assert all(cell["execution_count"] for cell in code)
        assert any(cell["outputs"] for cell in code)
        assert parameters(code) == {"profile": "smoke", "imbalance_factor": factor, "seed": 0}
    assert not (tree / "results").exists()


def parameters(code: list[dict[str, Any]]) -> dict[str, Any]:
    """What papermill put into its cell."""
    (cell,) = [c for c in code if "injected-parameters" in c["metadata"].get("tags", [])]
    found: dict[str, Any] = {}
    exec("".join(cell["source"]), found)
    return {name: found[name] for name in ("profile", "imbalance_factor", "seed")}
