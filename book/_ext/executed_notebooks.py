"""Sphinx extension: offer every executed page as a notebook with its outputs.

A page's source is MyST Markdown, and that is what the theme offers to download. MyST-NB also keeps
the executed notebook, in ``_build/jupyter_execute``; the theme links a notebook that lies in
``_sources`` if the page's context names it (``ipynb_source``). This extension copies and names it.

What is offered must not show where it was made: a path of this machine in a notebook is a warning,
and the book is built with warnings as errors.
"""

from pathlib import Path
from typing import Any

from myst_nb.sphinx_ import NbMetadataCollector
from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)


def executed_notebook(app: Sphinx, pagename: str) -> Path | None:
    """The notebook that MyST-NB wrote for a page that was executed; None for any other page."""
    if not NbMetadataCollector.get_doc_data(app.env).get(pagename, {}).get("exec_data"):
        return None
    path = Path(app.outdir).parent / "jupyter_execute" / f"{pagename}.ipynb"
    return path if path.exists() else None


def warn_of_paths(app: Sphinx, name: str, text: str) -> None:
    """Warn if a notebook shows the folder of the project or of the user."""
    for private in (str(Path(app.srcdir).parent), str(Path.home())):
        if f"{private}/" in text:
            message = "%s shows a path of this machine (%s): print it without"
            logger.warning(message, name, private, type="executed_notebooks")


def check_copies(app: Sphinx) -> None:
    """Look at the copies that papermill executed, which pages offer with the download role."""
    for copy in sorted(Path(app.srcdir).glob("executed/*.ipynb")):
        warn_of_paths(app, f"executed/{copy.name}", copy.read_text(encoding="utf-8"))


def offer(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any
) -> None:
    """Copy the page's executed notebook into the site and put it among the downloads."""
    if app.builder.format != "html" or (notebook := executed_notebook(app, pagename)) is None:
        return
    text = notebook.read_text(encoding="utf-8")
    warn_of_paths(app, f"{pagename}.ipynb", text)
    target = Path(app.outdir) / "_sources" / f"{pagename}.ipynb"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
    context["ipynb_source"] = f"{pagename}.ipynb"


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect; ``offer`` runs before the theme builds its header buttons (at priority 501)."""
    app.connect("builder-inited", check_copies)
    app.connect("html-page-context", offer, priority=450)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
