"""The Snakefile for real, on the smoke profile: a kill in mid-training, the grid, papermill copies.

These are slow tests: the pipeline from images to executed notebooks.
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

from ltqlib.config import from_profile
from ltqlib.data import CLASS_ORDERS
from ltqlib.evidence.records import read_record

ROOT = Path(__file__).parent.parent
LENGTH = {"train_images": 3_200, "stage2_images": 640}
PLAIN = from_profile("smoke", imbalance_factor=0.1, **LENGTH)
SHORT = from_profile("smoke", imbalance_factor=0.5, train_images=3_200, mixup=0.5)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of what Snakemake needs; what one test computes is there for the next."""
    folder = tmp_path_factory.mktemp("tree")
    for name in ("Snakefile", "_config.yml", "_toc.yml"):
        shutil.copy(ROOT / name, folder / name)
    for name in ("profiles", "book"):
        skip = shutil.ignore_patterns("executed", "__pycache__")
        shutil.copytree(ROOT / name, folder / name, ignore=skip)
    shorten(folder / "book" / "factor.md")
    yield folder
    shutil.rmtree(folder)


def shorten(page: Path) -> None:
    """Leave the first of its questions, for a network that is trained in seconds."""
    text = page.read_text(encoding="utf-8")
    head, _, _ = text.partition("## 2.")
    call = "ltq.train(data, arch, profile, seeds"
    assert "## 1." in head
    assert call in head
    told = ", ".join(f"{name}={value}" for name, value in LENGTH.items())
    page.write_text(head.replace(call, f"{call}, {told}"), encoding="utf-8")


def start(tree: Path, *arguments: str) -> subprocess.Popen[str]:
    """Snakemake in its own process group, as the head of whatever it starts."""
    kept = {name: value for name, value in os.environ.items() if name != "LTQ_FRESH"}
    return subprocess.Popen(
        [sys.executable, "-m", "snakemake", *arguments],
        cwd=tree,
        env={**kept, "LTQ_HOME": str(tree)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def snakemake(tree: Path, *arguments: str, code: int = 0) -> str:
    """Run Snakemake to its end; its output, which is shown where it fails."""
    process = start(tree, *arguments)
    output, _ = process.communicate()
    assert process.returncode == code, output
    return output


def somebody_computes(folder: Path) -> bool:
    """Whether a living process holds the lock of a network."""
    if not (folder / ".lock").exists():
        return False
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_a_dry_run_names_the_grid_and_the_chapter(tree: Path) -> None:
    settings = ("profile=smoke", "imbalance_factors=0.1,0.5", "class_orders=label,reversed")
    recipes = "recipes=plain,mixup=0.5+train_images=3200"
    output = snakemake(tree, "--dry-run", "all", "chapter", "--config", *settings, recipes)
    for factor in (0.1, 0.5):
        for order in ("label", "reversed"):
            for recipe in ({}, {"mixup": 0.5, "train_images": 3_200}):
                fields: dict[str, Any] = {"imbalance_factor": factor, **recipe}
                run = from_profile("smoke", class_order=CLASS_ORDERS[order], **fields)
                assert f"output: runs/{run.digest()}/train.done" in output
                assert f"output: runs/{run.digest()}/evaluate.done" in output
    assert f"runs/{SHORT.digest()}/train.done" in output
    assert "--train-images=3200" in output
    assert "runs/pages/smoke/quantized.ipynb" in output
    assert "-p source digits -p profile smoke" in output


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("profile=tablet", "profile 'tablet' is unknown"),
        ("recipes=mixup=much", "mixup is 'much', not a number"),
        ("data=folder:nowhere", "nowhere"),
    ],
)
def test_bad_settings_are_named(tree: Path, setting: str, says: str) -> None:
    profile = [] if "profile" in setting else ["profile=smoke"]
    assert says in snakemake(tree, "--dry-run", "--config", *profile, setting, code=1)


def test_a_killed_training_leaves_nothing_half_written_and_goes_on(tree: Path) -> None:
    folder = tree / "runs" / SHORT.digest()
    recipe = ("imbalance_factors=0.5", "recipes=mixup=0.5+train_images=3200")
    grid = ("--config", "profile=smoke", *recipe, "until=train")
    process = start(tree, *grid)
    while not somebody_computes(folder):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    time.sleep(1)  # amid the training
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not somebody_computes(folder)
    assert not [path for path in folder.iterdir() if path.name.endswith((".done", ".json"))]

    snakemake(tree, *grid)
    assert read_record(folder / "network.json")["config"] == SHORT.public()
    assert not [path for path in folder.iterdir() if "partial" in path.name]


def test_the_grid_and_its_papermill_copies(tree: Path) -> None:
    recipe = "recipes=" + "+".join(f"{name}={value}" for name, value in LENGTH.items())
    grid = ("--config", "profile=smoke", "imbalance_factors=0.1", recipe, "until=decouple")
    snakemake(tree, *grid)
    folder = tree / "runs" / PLAIN.digest()
    assert read_record(folder / "stage2.json")["digest"] == PLAIN.digest()
    written = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert "Nothing to be done" in snakemake(tree, *grid)
    assert {path: path.stat().st_mtime_ns for path in written} == written

    snakemake(tree, "book/executed/factor-0.1.ipynb")
    notebook = json.loads((tree / "book/executed/factor-0.1.ipynb").read_text())
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["execution_count"] for cell in code)
    assert any(cell["outputs"] for cell in code)
    told = {"source": "digits", "profile": "smoke", "imbalance_factor": 0.1}
    assert parameters(code) == told
    assert list(folder.glob("outcomes-*.nc.xz"))
    assert not (tree / "results").exists()


def parameters(code: list[dict[str, Any]]) -> dict[str, Any]:
    """What papermill put into its cell."""
    (cell,) = [c for c in code if "injected-parameters" in c["metadata"].get("tags", [])]
    found: dict[str, Any] = {}
    exec("".join(cell["source"]), found)
    return {name: value for name, value in found.items() if not name.startswith("__")}
