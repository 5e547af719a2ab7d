"""The report: nothing from outside runs or is loaded; a real browser sorts its table."""

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import nbformat
import pytest
from audit_cases import CLASSES, audited

from ltqlib.deploy import figures, shown
from ltqlib.deploy.limits import Limits
from ltqlib.deploy.report import as_json, broken, page, write_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
PARTS = (
    shown.summary, shown.groups, shown.classes, shown.confusions, shown.examples,
    shown.sensitivity, shown.candidates, shown.other_tests, shown.card, figures.groups,
    figures.sizes,
)  # fmt: skip


@pytest.fixture(scope="module")
def html() -> str:
    """The page without the kernel: every part as papermill would have kept it."""
    cells = [nbformat.v4.new_markdown_cell("## Prose with `code` and <b>no markup</b>")]
    for part in PARTS:
        data = {"text/html": str(part(audited()))}
        shown_here = [nbformat.v4.new_output("display_data", data=data)]
        cells.append(nbformat.v4.new_code_cell("...", outputs=shown_here))
    return page(nbformat.v4.new_notebook(cells=cells), audited().about["model"])


def test_names_are_text_and_never_markup(html: str) -> None:
    assert html.count("<script") == 1  # the one that sorts
    assert "<b>net</b>" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "<b>no markup</b>" not in html
    for name in CLASSES:
        assert name in unescape(re.sub(r"<[^>]+>", " ", html))


def test_nothing_is_loaded_from_outside(html: str) -> None:
    loads = re.findall(r"(?:src|href|url|@import)\s*[=(]\s*['\"]?([^'\")\s>]+)", html)
    assert all(one.startswith(("data:", "#")) for one in loads)
    assert "default-src 'none'" in html


def test_the_json_is_plain_and_complete(tmp_path: Path) -> None:
    told = json.loads(json.dumps(as_json(audited()), allow_nan=False))
    assert [row["class"] for row in told["classes"]["2 bits"]] == CLASSES
    assert told["recommended"]["bits"].keys() == audited().bit_config.keys()
    flips = told["flips"]["2 bits"]
    assert sum(row["images"] for row in told["confusions"]["2 bits"]) == len(flips)
    assert {"configuration", "how", "group", "value", "low", "high"} <= told["groups"][0].keys()


def test_only_limits_that_were_given_are_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    assert broken(audited()) == []
    given = {"max_size": 10.0, "max_class_drop": None, "max_tail_drop": None}
    monkeypatch.setitem(audited().about, "limits", given)
    assert audited().limits == Limits(10.0)
    assert broken(audited()) == ["model file, bytes"]


def browse(page: Path, folder: Path, *flags: str) -> str:
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={folder / 'profile'}", *flags, page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_a_browser_sorts_and_loads_nothing(html: str, tmp_path: Path) -> None:
    """A second script, which the test allows, presses the last heading and says what it saw."""
    probe = """
      const table = document.querySelectorAll("table:has(th button)")[0];
      const heads = table.tHead.rows[0].cells, last = heads.length - 1;
      const column = () => [...table.tBodies[0].rows].map(r => +r.cells[last].dataset.value);
      heads[last].querySelector("button").click(); const down = column();
      heads[last].querySelector("button").click(); const up = column();
      document.title = JSON.stringify({down, up, aria: heads[last].getAttribute("aria-sort"),
        loaded: performance.getEntriesByType("resource").map(e => e.name)
          .filter(n => !n.startsWith("data:"))});
    """
    allowed = re.sub(r"script-src [^\"]+", "script-src 'unsafe-inline'", html)
    file = tmp_path / "probe.html"
    file.write_text(allowed.replace("</body>", f"<script>{probe}</script></body>"))
    dumped = browse(file, tmp_path, "--dump-dom")
    told = json.loads(unescape(re.search(r"<title>(.*?)</title>", dumped, re.S)[1]))
    losses = audited().classes("2 bits")["lost"].round(6).tolist()
    assert [round(x, 6) for x in told["down"]] == sorted(losses, reverse=True)
    assert [round(x, 6) for x in told["up"]] == sorted(losses)
    assert (told["aria"], told["loaded"]) == ("ascending", [])


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_the_page_allows_its_own_script_and_no_other(html: str, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text(html.replace("</main>", "<script>document.title = 'ran'</script></main>"))
    dumped = browse(file, tmp_path, "--dump-dom", "--enable-logging=stderr", "--v=0")
    assert "<title>ran" not in dumped
    blocked = re.findall(r"inline script[^\n]*violates", dumped)
    assert len(blocked) == 1  # the injected one; the page's own was not


@pytest.mark.slow
def test_papermill_makes_the_page(tmp_path: Path) -> None:
    audited().write(tmp_path / "data")
    file = write_report(tmp_path)
    text = file.read_text(encoding="utf-8")
    assert text.count("<svg") == 2
    assert "Model card" in text
    assert json.loads((tmp_path / "report.json").read_text())["format"] == "ltq-audit-1"
