"""The committed baselines that nbval compares: executed, and with the code of the pages."""

import re
from pathlib import Path

import jupytext
import nbformat
import pytest

ROOT = Path(__file__).parent.parent
BASELINES = sorted((ROOT / "tests" / "notebooks").glob("*.ipynb"))

every_baseline = pytest.mark.parametrize("path", BASELINES, ids=lambda path: path.stem)


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """Code cells, without the one in which papermill sets the parameters."""
    return [
        cell
        for cell in notebook.cells
        if cell.cell_type == "code" and "injected-parameters" not in cell.metadata.get("tags", [])
    ]


def compared(path: Path) -> list[nbformat.NotebookNode]:
    """Executed cells whose outputs nbval compares."""
    cells = code_cells(nbformat.read(path, as_version=4))
    return [c for c in cells if "nbval-ignore-output" not in c.metadata.get("tags", [])]


def test_there_are_baselines() -> None:
    assert [path.stem for path in BASELINES] == ["factor", "live"]


@every_baseline
def test_code_is_that_of_the_page(path: Path) -> None:
    page = jupytext.read(ROOT / "book" / f"{path.stem}.md")
    baseline = nbformat.read(path, as_version=4)
    assert [c.source for c in code_cells(baseline)] == [c.source for c in code_cells(page)]


@every_baseline
def test_every_cell_was_executed_and_some_are_compared(path: Path) -> None:
    """nbval passes an unexecuted notebook without comparing anything."""
    cells = code_cells(nbformat.read(path, as_version=4))
    assert all(cell.execution_count for cell in cells)
    assert not [o for c in cells for o in c.outputs if o.output_type == "error"]
    assert sum(bool(cell.outputs) for cell in compared(path)) >= 3


@every_baseline
def test_compared_outputs_hold_no_measured_decimals(path: Path) -> None:
    """Another machine trains slightly other weights: only what it must agree on is compared."""
    for cell in compared(path):
        for output in cell.outputs:
            text = output.get("text", "") or output.get("data", {}).get("text/plain", "")
            assert not re.search(r"\d\.\d{3}", text), cell.source


@every_baseline
def test_nothing_says_where_it_was_made(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"/(home|root|Users|work|opt|tmp|mnt)/", text)
