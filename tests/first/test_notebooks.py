"""The committed baselines that nbval compares: executed, and with the code of the pages."""

from pathlib import Path

import jupytext
import nbformat
import pytest

ROOT = Path(__file__).parent.parent.parent
BASELINES = sorted((ROOT / "tests" / "notebooks").glob("*.ipynb"))


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """Code cells, without the one in which papermill sets the parameters."""
    return [
        cell
        for cell in notebook.cells
        if cell.cell_type == "code" and "injected-parameters" not in cell.metadata.get("tags", [])
    ]


def test_there_are_baselines() -> None:
    assert [path.stem for path in BASELINES] == ["factor", "live"]


@pytest.mark.parametrize("path", BASELINES, ids=lambda path: path.stem)
def test_code_is_that_of_the_page(path: Path) -> None:
    page = jupytext.read(ROOT / "book" / f"{path.stem}.md")
    baseline = nbformat.read(path, as_version=4)
    assert [c.source for c in code_cells(baseline)] == [c.source for c in code_cells(page)]


@pytest.mark.parametrize("path", BASELINES, ids=lambda path: path.stem)
def test_every_cell_that_nbval_compares_was_executed(path: Path) -> None:
    """nbval passes an unexecuted notebook without comparing anything."""
    cells = code_cells(nbformat.read(path, as_version=4))
    assert all(cell.execution_count for cell in cells)
    compared = [c for c in cells if "nbval-ignore-output" not in c.metadata.get("tags", [])]
    assert sum(bool(cell.outputs) for cell in compared) >= 2
    assert not [o for c in cells for o in c.outputs if o.output_type == "error"]


@pytest.mark.parametrize("path", BASELINES, ids=lambda path: path.stem)
def test_compared_outputs_hold_no_measured_decimals(path: Path) -> None:
    """Another machine trains slightly other weights: only what it must agree on is compared."""
    for cell in code_cells(nbformat.read(path, as_version=4)):
        if "nbval-ignore-output" in cell.metadata.get("tags", []):
            continue
        assert "accuracy" not in cell.source or "import" in cell.source
