"""Sphinx extension: pages are executed side by side, one on each core.

Jupyter Book builds with one process and has no option for more. A page is executed while Sphinx
reads it, so that reading in parallel halves the time of a build on two cores. Two extensions that
Jupyter Book brings along do not say whether they bear it: one numbers what has been read, the other
writes LaTeX. The pages are the same as those of a build with one process.
"""

import os
from typing import Any

from sphinx.application import Sphinx

SILENT = ("sphinx_multitoc_numbering", "sphinx_jupyterbook_latex")
MOST = 4  # kernels at once; some hold torch


def read_in_parallel(app: Sphinx, config: Any) -> None:
    """Before anything is read, and after all extensions are there."""
    for name in SILENT:
        if name in app.extensions:
            app.extensions[name].parallel_read_safe = True
            app.extensions[name].parallel_write_safe = True
    app.parallel = min(os.cpu_count() or 1, MOST)


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect."""
    app.connect("config-inited", read_in_parallel)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
