"""The book needs no network: formulas come from a package, and a page that loads more is found."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXTENSIONS = Path(__file__).parent.parent.parent / "book" / "_ext"
CONF = f"""
import sys
sys.path.insert(0, {str(EXTENSIONS)!r})
extensions = ["myst_parser", "sphinx.ext.mathjax", "offline"]
myst_enable_extensions = ["dollarmath"]
"""


@pytest.fixture(scope="module")
def offline():  # type: ignore[no-untyped-def]
    spec = importlib.util.spec_from_file_location("offline", EXTENSIONS / "offline.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build(folder: Path, page: str) -> subprocess.CompletedProcess[str]:
    (folder / "conf.py").write_text(CONF)
    (folder / "index.md").write_text(page)
    command = [sys.executable, "-m", "sphinx", "-W", "-q", "-b", "html", ".", "out"]
    return subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True)


def test_formulas_need_no_network(tmp_path: Path) -> None:
    done = build(tmp_path, "# Page\n\nA formula: $x^2$.\n")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "out" / "index.html").read_text()
    (script,) = re.findall(r'<script[^>]*src="([^"]*mathjax[^"?]*)', page)
    assert (tmp_path / "out" / script).stat().st_size > 1_000_000
    fonts = tmp_path / "out" / "_static" / "mathjax" / "output" / "chtml" / "fonts" / "woff-v2"
    assert len(list(fonts.glob("*.woff"))) > 20


def test_a_page_that_loads_a_script_fails_the_build(tmp_path: Path) -> None:
    done = build(tmp_path, '# Page\n\n<script src="https://cdn.example/x.js"></script>\n')
    assert done.returncode != 0
    assert "index.html loads https://cdn.example/x.js" in done.stderr


@pytest.mark.parametrize(
    ("html", "count"),
    [
        ('<script src="_static/x.js">', 0),
        ('<a href="https://arxiv.org">', 0),
        ('<script defer src="//cdn.example/x.js">', 1),
        ("<script src='http://cdn.example/x.js'>", 1),
        ('<link rel="stylesheet" href="https://fonts.example/a.css">', 1),
        ('<link rel="canonical" href="https://book.example/">', 0),
    ],
)
def test_what_comes_from_elsewhere(offline, html: str, count: int) -> None:  # type: ignore[no-untyped-def]
    assert len(offline.from_elsewhere(html)) == count
