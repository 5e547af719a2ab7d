"""Sphinx extension: the script of interactive figures, from the installed plotly.

The figure holds its data alone and asks for ``_static/plotly.min.js``: the book works offline, and
four megabytes are neither in git nor in every notebook.
"""

import shutil
from pathlib import Path
from typing import Any

import plotly
from sphinx.application import Sphinx


def copy_script(app: Sphinx, exception: Exception | None) -> None:
    """Put the script beside the other static files once the pages are written."""
    if exception is None and app.builder.format == "html":
        source = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
        shutil.copyfile(source, Path(app.outdir) / "_static" / source.name)


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect."""
    app.connect("build-finished", copy_script)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
