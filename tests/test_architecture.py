"""The library reads from top to bottom: imports go one way, modules and functions stay short."""

import ast
import functools
import re
from pathlib import Path

import pytest

import ltqlib

PACKAGE = Path(ltqlib.__file__).parent
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__main__.py")
ROOMS = (ltqlib.__doc__ or "").split("::", 1)[1].split()
LONGEST_MODULE, LONGEST_FUNCTION = 300, 50

every_module = pytest.mark.parametrize(
    "path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix()
)


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def room(path: Path) -> str:
    """The module, or the package that it is part of, below ltqlib."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Rooms that a file imports, wherever in the file; `ltqlib` itself offers those it names."""
    found = set()
    for node in ast.walk(parsed(path)):
        names = []
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        assert not isinstance(node, ast.ImportFrom) or node.level == 0, "imports name the room"
        found |= {name.split(".")[1] for name in names if name.startswith("ltqlib.")}
    return found


def offered(path: Path) -> set[str]:
    """Rooms of the lazy names that a file takes from ``import ltqlib as ltq``."""
    aliases = {
        alias.asname or alias.name
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name == "ltqlib"
    }
    names = {
        node.attr
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in aliases
    }
    return {ltqlib._PUBLIC[name].split(".")[0] for name in names & set(ltqlib._PUBLIC)}


def test_the_list_names_every_room_once() -> None:
    assert sorted(ROOMS) == sorted({room(path) for path in MODULES} - {"__init__"})


@every_module
def test_imports_go_upwards_in_the_list(path: Path) -> None:
    used = imported(path) - {"__version__"}
    if path == PACKAGE / "__init__.py":
        assert used == set()
        return
    here = ROOMS.index(room(path))
    below = {other for other in used | offered(path) if ROOMS.index(other) > here}
    assert below == set()


def modules_imported(path: Path) -> set[Path]:
    """Files of the package that a file imports from, wherever in the file."""
    found = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ltqlib."):
            room = PACKAGE.parent.joinpath(*str(node.module).split("."))
            for alias in node.names:
                member = room / alias.name
                ways = (member.with_suffix(".py"), member, room.with_suffix(".py"), room)
                way = next(way for way in ways if way.exists())
                found.add(way / "__init__.py" if way.is_dir() else way)
    return found


def test_no_module_imports_itself_by_way_of_others() -> None:
    waiting = {path: modules_imported(path) for path in MODULES}
    while free := [path for path, needs in waiting.items() if not needs & set(waiting)]:
        for path in free:
            del waiting[path]
    assert sorted(path.relative_to(PACKAGE).as_posix() for path in waiting) == []


def test_every_public_name_is_there() -> None:
    for name in ltqlib.__all__:
        assert getattr(ltqlib, name).__doc__, name
    with pytest.raises(AttributeError, match="ltqlib has no 'distil'"):
        ltqlib.distil  # noqa: B018


@every_module
def test_modules_are_short(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST_MODULE


def length(function: ast.FunctionDef) -> int:
    """Lines of a function, without its docstring."""
    first = function.body[0]
    told = bool(ast.get_docstring(function)) * ((first.end_lineno or 0) - first.lineno + 1)
    return (function.end_lineno or 0) - function.lineno + 1 - told


@every_module
def test_functions_are_short(path: Path) -> None:
    functions = [node for node in ast.walk(parsed(path)) if isinstance(node, ast.FunctionDef)]
    assert {f.name: length(f) for f in functions if length(f) > LONGEST_FUNCTION} == {}


@every_module
def test_public_functions_and_classes_say_what_they_are(path: Path) -> None:
    """A method or property of one line may let its name say it."""
    assert ast.get_docstring(parsed(path)), "the module has no docstring"
    members = [
        member
        for scope in parsed(path).body
        if isinstance(scope, ast.ClassDef) and not scope.name.startswith("_")
        for member in scope.body
        if not isinstance(member, ast.FunctionDef) or len(member.body) > 1
    ]
    silent = [
        node.name
        for node in [*parsed(path).body, *members]
        if isinstance(node, (ast.FunctionDef, ast.ClassDef))
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    assert silent == []


@every_module
def test_nothing_unpickles(path: Path) -> None:
    text = re.sub(r"torch\.load\([^()]*weights_only=True\)", "", path.read_text(encoding="utf-8"))
    for word in ("import pickle", "torch.load(", "allow_pickle=True", "joblib"):
        assert word not in text


def test_names_of_test_files_are_unique() -> None:
    """pytest imports them by name: two of one name cannot be collected together."""
    names = sorted(path.name for path in Path(__file__).parent.rglob("*.py"))
    assert {name for name in names if names.count(name) > 1} <= {"conftest.py"}
