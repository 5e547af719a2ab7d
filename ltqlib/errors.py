"""The one exception that means "the input is wrong, and here is what to do"."""

import contextlib
import errno
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

# what a disk, or a path on it, may say beside what is common enough for words of its own
OTHERS = {
    *(errno.EIO, errno.EFBIG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG),
    *(errno.EMFILE, errno.ENFILE, errno.EPERM, errno.ESTALE),
}


class InputError(Exception):
    """Something the reader can put right: the message is one line saying what, where, what to do.

    The command line prints it and leaves with exit code 2. What cannot be printed of the names and
    values in it is escaped, a line break as well.
    """

    def __str__(self) -> str:
        text = super().__str__()
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a full or read-only disk under ``path`` into an :class:`InputError`.

    Raises:
        InputError: the disk is full, over quota, read-only or refuses the write for another reason
            that is the disk's; what a network says passes through.
    """
    try:
        yield
    except OSError as error:
        reasons = {
            errno.ENOSPC: "the disk is full: free some space and run the same command again",
            errno.EDQUOT: "the disk quota is used up: free some space and run the command again",
            errno.EROFS: "the disk is read-only: set LTQ_HOME to a folder that can be written",
            errno.EACCES: "permission denied: set LTQ_HOME to a folder that can be written",
        }
        if error.errno in OTHERS:
            reasons[error.errno] = f"{error.strerror}: set LTQ_HOME to a folder that can be written"
        if error.errno not in reasons:
            raise
        raise InputError(f"cannot write {path}: {reasons[error.errno]}") from error


def exit_code(main: Callable[[], int]) -> int:
    """What a script ends with: the code of ``main``, or 2 and one line for bad input."""
    try:
        return main()
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
