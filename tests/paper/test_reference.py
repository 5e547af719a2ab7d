"""The API page: every public name is documented, and every example executes."""

import importlib.util
import inspect
import re
from pathlib import Path
from typing import Any

import jupytext
import pytest

import ltqlib as ltq

BOOK = Path(__file__).parent.parent.parent / "book"
PAGE = BOOK / "api.md"
ENTRY = re.compile(r"^\.\. auto(function|class|exception):: ([\w.]+)", re.M)
# types that public functions return, documented with them
RETURNED = {
    "ltqlib.experiment.trained.Trained",
    "ltqlib.deploy.audited.Audit",
    "ltqlib.quantization.Quantized",
    "ltqlib.allocation.Widths",
    "ltqlib.statistics.Estimates",
}


def entries() -> list[str]:
    return [name for _, name in ENTRY.findall(PAGE.read_text(encoding="utf-8"))]


def examples() -> list[str]:
    return [c.source for c in jupytext.read(PAGE).cells if c.cell_type == "code"]


def test_the_page_documents_exactly_the_public_names() -> None:
    public = {f"ltqlib.{name}" for name in ltq.__all__}
    assert sorted(entries()) == sorted(public | RETURNED)


@pytest.mark.parametrize("name", ltq.__all__)
def test_every_name_has_an_example_right_after_its_entry(name: str) -> None:
    text = PAGE.read_text(encoding="utf-8")
    entry = re.search(rf"^\.\. auto\w+:: ltqlib\.{name}(\(\))?$", text, re.M)
    assert entry is not None
    cell = re.search(r"^```\{code-cell\}[^\n]*\n(.*?)^```$", text[entry.end() :], re.S | re.M)
    assert cell is not None
    assert re.search(rf"\b(ltq\.{name}|data\.test)\b", cell[1])


@pytest.mark.parametrize("name", ltq.__all__)
def test_docstrings_say_what_goes_in_and_comes_out(name: str) -> None:
    public = getattr(ltq, name)
    text = inspect.getdoc(public) or ""
    assert text.split("\n")[0].endswith(".")
    if inspect.isfunction(public):
        elsewhere = re.search(r"Args(, Raises:| and errors) as :func:", text)
        assert elsewhere or ("Args:" in text and "Raises:" in text)


@pytest.mark.slow
def test_every_example_executes(home: Path) -> None:
    """All cells in their order, as the book runs them, on an empty store."""
    known: dict[str, Any] = {}
    for source in examples():
        exec(compile(source, str(PAGE), "exec"), known)
    assert known["small"](known["images"]).shape == (8, 10)
    assert known["offsets"].shape == (10,)


def shorten(text: str) -> str:
    spec = importlib.util.spec_from_file_location("reference", BOOK / "_ext" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return str(module.shorten(text))


def test_signatures_are_written_as_a_person_would() -> None:
    from sphinx.util.inspect import signature, stringify_signature

    found = stringify_signature(signature(ltq.match_shares), unqualified_typehints=True)
    assert shorten(found) == "(quantized_logits: ArrayLike, target: ArrayLike) -> ndarray"
