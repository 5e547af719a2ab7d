"""The pages: short code, no result typed in, figures that can be read aloud, all in the book."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ltqlib.paper.claims import CLAIMS, VERDICTS, committed

BOOK = Path(__file__).parent.parent / "book"
PAGES = sorted(BOOK.glob("*.md"))
MOST_OF_PAGE, MOST_OF_CELL = 60, 15  # lines of code
MOST_OF_LINE = 88  # characters that a screen of 1280 pixels shows without scrolling
CELL = re.compile(r"^```\{code-cell\}[^\n]*\n(.*?)^```$", re.S | re.M)
HEADER = re.compile(r"\A---\n(.*?)^---\n|\A((?::[\w-]+:[^\n]*\n)+)", re.S | re.M)
# a number with a unit of accuracy, that a reader would take for a result
RESULT = re.compile(r"(?<![\w.])\d+(\.\d+)?\s*(%|points?\b|pp\b|percent\b)")
# arithmetic and conventions, not results
ALLOWED = re.compile(r"95 %|99\.9 %|0\.1 %|40 %")

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def cells(page: Path) -> list[tuple[dict[str, Any], str]]:
    """Header and code of each cell."""
    found = []
    for text in CELL.findall(page.read_text(encoding="utf-8")):
        match = HEADER.match(text)
        header: dict[str, Any] = {}
        if match and match[1] is not None:
            header = yaml.safe_load(match[1])
        elif match:  # the short form, :key: value
            pairs = re.findall(r"^:([\w-]+):(.*)$", match[2], re.M)
            header = {key: yaml.safe_load(value) for key, value in pairs}
        found.append((header, text[match.end() :] if match else text))
    return found


def lines(code: str) -> int:
    return sum(bool(line.strip()) for line in code.splitlines())


def prose(page: Path) -> str:
    """The page without its header, code, glued values and inline code."""
    text = re.sub(r"\A---\n.*?\n---\n", "", page.read_text(encoding="utf-8"), flags=re.S)
    text = re.sub(r"^(`{3,})\{code-cell\}.*?^\1$", "", text, flags=re.S | re.M)
    return re.sub(r"`[^`\n]*`", "", text)


@every_page
def test_code_is_the_experiment_and_short(page: Path) -> None:
    counts = [lines(code) for _, code in cells(page)]
    assert sum(counts) <= MOST_OF_PAGE
    assert max(counts, default=0) <= MOST_OF_CELL


@every_page
def test_code_is_visible(page: Path) -> None:
    """Only the cell that makes the numbers of the prose, and figures, may hide their input.

    What is visible is read without scrolling.
    """
    for header, code in cells(page):
        if {"remove-input", "hide-input", "remove-cell"} & set(header.get("tags", [])):
            assert "numbers(" in code or "diagrams." in code or "mystnb" in header, code
            assert "remove-cell" not in header["tags"], "glue of a removed cell is not found"
        else:
            assert max(map(len, code.splitlines()), default=0) <= MOST_OF_LINE


@every_page
def test_no_result_is_typed_in(page: Path) -> None:
    text = ALLOWED.sub("", prose(page))
    assert not [match.group() for match in RESULT.finditer(text)]


def test_the_rule_finds_a_typed_in_result(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("The tail loses 3.4 points, or 12 %, at {glue:text}`x` bits.\n")
    assert len(RESULT.findall(prose(page))) == 2


@every_page
def test_every_figure_has_a_name_a_caption_and_alt_text(page: Path) -> None:
    if page.stem == "factor":  # run by papermill, where figures have no captions
        return
    for header, code in cells(page):
        if re.search(r"^(plots|diagrams)\.\w+\(", code, flags=re.M):
            assert "mystnb" in header, code
            assert len(header["mystnb"]["image"]["alt"]) > 40
            assert header["mystnb"]["figure"]["name"].startswith("fig-")
            assert len(header["mystnb"]["figure"]["caption"]) > 80


def test_names_of_figures_are_unique() -> None:
    headers = [header for page in PAGES for header, _ in cells(page)]
    names = [h["mystnb"]["figure"]["name"] for h in headers if "figure" in h.get("mystnb", {})]
    assert sorted(names) == sorted(set(names))


def test_every_page_is_in_the_table_of_contents() -> None:
    toc = yaml.safe_load((BOOK.parent / "_toc.yml").read_text())
    listed = set(re.findall(r"'file': '([\w-]+)'", str(toc))) | {toc["root"]}
    assert listed | {"factor"} == {page.stem for page in PAGES}


def test_figures_and_tables_of_the_post_have_their_counterpart() -> None:
    """Eleven figures and two tables: the pages say which is which."""
    text = "\n".join(page.read_text() for page in PAGES)
    for number in range(4, 12):
        assert re.search(rf"figure {number}\b", text), f"figure {number} of the post"
    named = ("fig-methods-applications", "fig-long-tail", "fig-decoupling", "table 1", "table 2")
    for name in named:
        assert name in text


def test_every_claim_has_a_committed_verdict_and_a_page_that_says_it() -> None:
    assert {claim.key for claim in CLAIMS} == set(committed())
    assert set(committed().values()) <= set(VERDICTS)
    for claim in CLAIMS:
        text = (BOOK / f"{claim.page}.md").read_text(encoding="utf-8")
        assert f"`verdict-{claim.key}`" in text


def test_reported_values_agree_with_their_own_arithmetic() -> None:
    """Norm is (4 head + 6 tail) / 10, to the rounding of the print."""
    from ltqlib.paper import reported

    for by_factor in reported()["table1"].values():
        for norm, head, tail in by_factor.values():
            assert norm == pytest.approx((4 * head + 6 * tail) / 10, abs=0.11)
