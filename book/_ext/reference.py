"""Sphinx extension: the reference of the library, from its docstrings.

Autodoc and napoleon do the work. Signatures are made here: types without their modules, and the
aliases of NumPy under their names, which Python writes out in full.
"""

import inspect
import re
from typing import Any

from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.util.inspect import signature, stringify_signature

ARRAY_LIKE = (
    "_Buffer | _SupportsArray[dtype[Any]] | _NestedSequence[_SupportsArray[dtype[Any]]] | "
    "complex | bytes | str | _NestedSequence[complex | bytes | str]"
)
SHORTER = (
    (re.compile(r"~(?!ltqlib)[\w.]+\.(\w+)"), r"\1"),  # modules of other libraries
    (re.compile(re.escape(ARRAY_LIKE)), "ArrayLike"),
    (re.compile(r"ndarray\[tuple\[Any, \.\.\.\], dtype\[\w+\]\]"), "ndarray"),
    (re.compile(r"<function (\w+)>"), r"\1"),
)


def configure(app: Sphinx, config: Config) -> None:
    """Members in the order of the source; no types but those that are made here."""
    config.autodoc_member_order = "bysource"
    config.autodoc_typehints = "none"


def shorten(text: str) -> str:
    """Types as a person would write them."""
    for long, short in SHORTER:
        text = long.sub(short, text)
    return text


def short_signature(
    app: Sphinx, what: str, name: str, object_: Any, options: Any, args: str | None, returns: Any
) -> tuple[str, str | None] | None:
    """Arguments and what is returned, in words that fit a line."""
    if what not in ("function", "method") or args is None:
        return None
    found = signature(object_, bound_method=what == "method" and not inspect.ismethod(object_))
    parts = shorten(stringify_signature(found, unqualified_typehints=True)).rpartition(" -> ")
    return (parts[0], parts[2]) if parts[1] else (parts[2], None)


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect."""
    app.setup_extension("sphinx.ext.autodoc")
    app.setup_extension("sphinx.ext.napoleon")
    app.connect("config-inited", configure)
    app.connect("autodoc-process-signature", short_signature)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
