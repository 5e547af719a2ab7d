"""The library reads from top to bottom: imports go one way, functions stay short."""

import ast
from pathlib import Path

import pytest

import ltqlib.first as ltqlib

PACKAGE = Path(ltqlib.__file__).parent
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__main__.py")
ORDER = [
    word for line in (ltqlib.__doc__ or "").split("::", 1)[1].splitlines() for word in line.split()
]


def name(path: Path) -> str:
    """The module, or the package that it is part of, below ltqlib."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Modules of ltqlib that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "ltqlib.first":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ltqlib.first."):
            found.add((node.module or "").split(".")[2])
    return found


def test_the_list_names_every_module() -> None:
    assert sorted(ORDER) == sorted({name(path) for path in MODULES} - {"__init__"})


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_upwards_in_the_list(path: Path) -> None:
    if path == PACKAGE / "__init__.py":
        assert imported(path) == set()
        return
    here = ORDER.index(name(path))
    assert {other for other in imported(path) if ORDER.index(other) > here} == set()


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_functions_are_short_and_public_ones_say_what_they_do(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.FunctionDef):
            continue
        assert (node.end_lineno or 0) - node.lineno < 60, f"{node.name} is too long"
        if not node.name.startswith("_"):
            nested = node.col_offset > 0 and "self" not in [a.arg for a in node.args.args]
            assert nested or ast.get_docstring(node), f"{node.name} has no docstring"
