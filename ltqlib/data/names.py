"""Names that come from a file system, made fit for one line of text."""

from collections.abc import Sequence
from pathlib import Path


def shown(name: str | Path) -> str:
    """``name`` on one line: bytes that are no UTF-8 and unprintable characters are escaped.

    A line break becomes ``\\n``, a stray byte ``\\xe9``; letters of every script stay.
    """
    return "".join(c if c.isprintable() else _escape(c) for c in str(name))


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # how Python holds a byte that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def class_names(folders: Sequence[str]) -> tuple[str, ...]:
    """One name for a reader for each class folder, all different."""
    names: dict[str, None] = {}
    for folder in folders:
        name, number = shown(folder), 1
        while name in names:
            number += 1
            name = f"{shown(folder)} ({number})"
        names[name] = None
    return tuple(names)
