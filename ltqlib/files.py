"""Files that are whole or not there."""

import os
import platform
from pathlib import Path

from ltqlib.errors import disk_errors

PARTIAL = ".partial"


def write_whole(path: Path, content: bytes) -> None:
    """Write ``content`` to a temporary file of this process, then rename it to ``path``.

    What a killed process of this machine has left of the same file is removed.

    Raises:
        InputError: the disk is full or cannot be written; nothing is left behind.
    """
    begin = f".{path.name}.{platform.node()}-"
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(path.parent, begin)
        partial = path.with_name(f"{begin}{os.getpid()}{PARTIAL}")
        try:
            with partial.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def remove(path: Path) -> None:
    """Delete a file, if it is there.

    Raises:
        InputError: the disk is read-only, or refuses for another reason that is the disk's.
    """
    with disk_errors(path):
        path.unlink(missing_ok=True)


def _remove_stale(folder: Path, begin: str) -> None:
    """Delete temporary files that begin so and whose process is gone."""
    for name in os.listdir(folder):
        if name.startswith(begin) and name.endswith(PARTIAL):
            process = name[len(begin) : -len(PARTIAL)]
            if process.isdecimal() and not _is_alive(int(process)):
                (folder / name).unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    """Whether a process is there; taken for alive where that cannot be asked."""
    if os.name != "posix":
        return True  # a signal 0 would end it
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # of somebody else
        return True
    return True
