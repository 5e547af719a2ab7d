"""Sphinx extension: a book that needs no network.

Formulas: ``sphinx-mathjax-offline`` ships the files of MathJax 3.2.2. Sphinx would load the script
from a CDN; we copy what a page can ask for into ``_static/mathjax``: the script with all of TeX,
its fonts, and what the accessibility entries of its menu load (speech in English). The package's
own extension would copy all of its 24 megabytes.

Once the pages are written, each is searched for scripts and style sheets from elsewhere. One that
is found is a warning, and the book is built with warnings as errors.
"""

import importlib.util
import re
import shutil
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.errors import ExtensionError
from sphinx.util import logging

logger = logging.getLogger(__name__)

PACKAGE = "sphinx-mathjax-offline"
SCRIPT = "tex-chtml-full.js"
FILES = (
    SCRIPT,
    "output/chtml/fonts/woff-v2/*.woff",
    "a11y/*.js",
    "sre/mathmaps/base.json",
    "sre/mathmaps/en.json",
)
ELSEWHERE = re.compile(
    r"""<(?:script\b[^>]*\bsrc|link\b[^>]*\bstylesheet\b[^>]*\bhref)\s*=\s*["']((?:https?:)?//[^"']+)"""
)


def use_copy(app: Sphinx, config: Config) -> None:
    """Name the copied script in place of the CDN's."""
    config.mathjax_path = f"mathjax/{SCRIPT}"


def installed() -> Path:
    """The folder of the package with MathJax's files."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise ExtensionError(f"{PACKAGE} is not installed: it is in requirements.lock")
    return Path(found.origin).parent / "static" / "mathjax"


def copy_files(app: Sphinx) -> None:
    """Put MathJax beside the other static files before the pages are written."""
    if app.builder.format != "html":
        return
    source, target = installed(), Path(app.outdir) / "_static" / "mathjax"
    for pattern in FILES:
        for file in sorted(source.glob(pattern)):
            copy = target / file.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)


def from_elsewhere(page: str) -> list[str]:
    """Addresses of scripts and style sheets that a page loads from another host."""
    return ELSEWHERE.findall(page)


def check_pages(app: Sphinx, exception: Exception | None) -> None:
    """Warn of every page that loads something from elsewhere."""
    if exception is not None or app.builder.format != "html":
        return
    for path in sorted(Path(app.outdir).glob("**/*.html")):
        for address in from_elsewhere(path.read_text(encoding="utf-8")):
            logger.warning("%s loads %s: copy it into _static", path.name, address, type="offline")


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect."""
    app.connect("config-inited", use_copy)
    app.connect("builder-inited", copy_files)
    app.connect("build-finished", check_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
