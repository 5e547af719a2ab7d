"""Files that are whole or not there."""

import os
from pathlib import Path

from ltqlib.errors import disk_errors


def write_whole(path: Path, content: bytes) -> None:
    """Write ``content`` to a temporary file of this process, then rename it to ``path``.

    Raises:
        InputError: the disk is full or cannot be written; nothing is left behind.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            with partial.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
