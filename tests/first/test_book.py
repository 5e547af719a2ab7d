"""The pages: no result is typed in, every figure can be read aloud, every page is in the book."""

import re
from pathlib import Path

import pytest
import yaml

from ltqlib.first import paths
from ltqlib.first.claims import VERDICTS

BOOK = Path(__file__).parent.parent.parent / "book"
PAGES = sorted(BOOK.glob("*.md"))
# a decimal, or any number with a unit of accuracy, that a reader would take for a result
RESULT = re.compile(r"(?<![\w.])\d+\.\d+\s*(%|points?\b|pp\b)|(?<![\w.])\d+(\.\d+)?\s*(%|points\b)")
# arithmetic and conventions, not results
ALLOWED = re.compile(r"95 %|99\.9 %|0\.1 %")


def prose(page: Path) -> str:
    """The page without its header, code, glued values and inline code."""
    text = re.sub(r"\A---\n.*?\n---\n", "", page.read_text(encoding="utf-8"), flags=re.S)
    text = re.sub(r"^(`{3,})\{code-cell\}.*?^\1$", "", text, flags=re.S | re.M)
    return re.sub(r"`[^`\n]*`", "", text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_no_result_is_typed_in(page: Path) -> None:
    text = ALLOWED.sub("", prose(page))
    assert not [match.group() for match in RESULT.finditer(text)]


def test_the_rule_finds_a_typed_in_result(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("The tail loses 3.4 points, or 12 %, at {glue:text}`x` bits.\n")
    assert len(RESULT.findall(prose(page))) == 2


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_figure_has_a_name_a_caption_and_alt_text(page: Path) -> None:
    cells = re.findall(r"^```\{code-cell\}.*?^```$", page.read_text(), flags=re.S | re.M)
    figures = [cell for cell in cells if re.search(r"^(plots|diagrams)\.\w+\(", cell, flags=re.M)]
    if page.stem == "factor":  # run by papermill, where figures have no captions
        return
    for cell in figures:
        header = yaml.safe_load(re.search(r"^---\n(.*?)^---$", cell, flags=re.S | re.M)[1])  # type: ignore[index]
        assert len(header["mystnb"]["image"]["alt"]) > 40
        assert header["mystnb"]["figure"]["name"].startswith("fig-")
        assert len(header["mystnb"]["figure"]["caption"]) > 80


def test_every_page_is_in_the_table_of_contents() -> None:
    toc = yaml.safe_load((BOOK.parent / "_toc.yml").read_text())
    listed = set(re.findall(r"'file': '([\w-]+)'", str(toc))) | {toc["root"]}
    assert listed | {"factor"} == {page.stem for page in PAGES}


def test_figures_and_tables_of_the_post_have_their_counterpart() -> None:
    """Eleven figures and two tables: the pages say which is which."""
    text = "\n".join(page.read_text() for page in PAGES)
    for number in range(4, 12):
        assert re.search(rf"figure {number}\b", text), f"figure {number} of the post"
    for name in (
        "fig-methods-applications",
        "fig-long-tail",
        "fig-decoupling",
        "table 1",
        "table 2",
    ):
        assert name in text


def test_committed_verdicts_are_verdicts() -> None:
    assert set(yaml.safe_load(paths.book("claims.yml").read_text()).values()) <= set(VERDICTS)
