"""Numbers of a page's prose: every one comes from the page's own estimates."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ltqlib.statistics.estimate import Estimates, cell

MINUS = "\u2212"


def numbers(**named: Any) -> None:
    """Make values available to the text of this page, as ``{glue:text}`name` ``.

    Args:
        named: a number, a word, a mapping of those, or estimates. Of an estimate the text is its
            value; with ``-interval`` behind its name the interval as well. The parts of a mapping's
            keys or of a table's index follow the name: ``lost-baseline-4-tail``.
    """
    from myst_nb import glue  # type: ignore[import-untyped]

    for name, value in named.items():
        for key, text in words(name, value):
            glue(key.replace("_", "-"), text, display=False)


def words(name: str, value: Any, digits: int = 1) -> Iterator[tuple[str, str]]:
    """Names and texts of a value, as :func:`numbers` makes them available.

    What could not be measured (NaN) has no name, so that a page that names it does not build.
    """
    if isinstance(value, Estimates):
        digits += value.attrs.get("unit", "").startswith(("Spearman", "Rank"))  # below 1
        for index, row in value.dropna(subset="value").iterrows():
            parts = index if isinstance(index, tuple) else (index,)
            key = "-".join([name, *(_part(part) for part in parts)])
            three = (row["value"], row["low"], row["high"])
            yield key, cell(row["value"], np.nan, np.nan, digits)
            yield f"{key}-interval", cell(*three, digits=digits)
    elif isinstance(value, Mapping):
        for part, inner in value.items():
            yield from words(f"{name}-{_part(part)}", inner, digits)
    elif text := _text(value, digits):
        yield name, text


def _part(part: Any) -> str:
    return f"{part:g}" if isinstance(part, float) else str(part).replace(" ", "-")


def _text(value: Any, digits: int) -> str:
    if isinstance(value, (bool, str)):
        return str(value)
    if isinstance(value, (int, np.integer)):
        return f"{value:,}".replace("-", MINUS)
    return cell(float(value), np.nan, np.nan, digits)
