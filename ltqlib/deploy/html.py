"""Pieces of HTML: tables that sort, lights, numbers, pictures."""

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt

from ltqlib.deploy import limits
from ltqlib.statistics.estimate import cell

WORDS = {
    limits.GREEN: "\u25cf OK",
    limits.AMBER: "\u25b2 not certain",
    limits.RED: "\u25a0 problem",
}


class Html(str):
    """Text that a notebook shows as HTML."""

    def _repr_html_(self) -> str:
        return str(self)


def light_of(light: str, title: str, text: str) -> str:
    """One traffic light: a colour, a word and a sentence (HTML)."""
    return (
        f"<li class='light {light}'><span class=word>{WORDS[light]}</span><b>{escape(title)}</b>"
        f"<span>{text}</span></li>"
    )


def interval(row: Any) -> str:
    """``1.2 [0.3, 2.1]``."""
    return cell(row["value"], row["low"], row["high"]).replace("\u00a0", " ")


def estimate_cell(row: Any) -> tuple[str, float]:
    """The same for a table, with the value to sort by."""
    text = cell(row["value"], row["low"], row["high"])
    value, _, rest = text.partition("\u00a0[")
    return f"{value} <span class=range>[{rest}</span>" if rest else value, row["value"]


def number(value: float, digits: int) -> tuple[str, float]:
    """A number for a table, with the value to sort by."""
    return f"{value:,.{digits}f}".replace("-", "\u2212"), float(value)


def png(pixels: npt.NDArray[np.uint8]) -> str:
    """Pixels (H, W, 3) as a URL."""
    from PIL import Image

    held = io.BytesIO()
    Image.fromarray(pixels).save(held, "PNG")
    return "data:image/png;base64," + base64.b64encode(held.getvalue()).decode()


def as_table(
    heads: Sequence[str],
    rows: Iterable[Sequence[Any]],
    caption: str,
    text: int = 1,
    *,
    sort: bool = False,
    marked: Sequence[bool] = (),
) -> Html:
    """A table; cells are HTML or (HTML, value to sort by); the first ``text`` columns are words."""
    titles = [f"<button type=button>{escape(h)}</button>" if sort else escape(h) for h in heads]
    body = []
    for place, row in enumerate(rows):
        cells = [
            f"<td{' class=text' * (at < text)}" + (
                f" data-value='{item[1]}'>{item[0]}" if isinstance(item, tuple) else f">{item}"
            ) + "</td>"
            for at, item in enumerate(row)
        ]  # fmt: skip
        chosen = " class=chosen" * (place < len(marked) and marked[place])
        body.append(f"<tr{chosen}>{''.join(cells)}</tr>")
    head = "".join(f"<th{' class=text' * (at < text)}>{t}</th>" for at, t in enumerate(titles))
    return Html(
        f"<div class=wide><table><caption>{caption}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def short_bytes(count: float) -> str:
    """Bytes as people write them: ``2.3 MB``."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f} bytes"
