"""The command ``ltq``: train and evaluate networks, list what is stored, check claims, publish,
audit a classifier of the reader's.

Bad input is one line on standard error and exit code 2. A command that is stopped (Ctrl-C: 130,
SIGTERM: 143) goes on from where it was when it is given again.
"""

import argparse
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import NoReturn

from ltqlib import __version__
from ltqlib.cli import audit, claims, publish, run, show
from ltqlib.errors import InputError


class Interrupted(KeyboardInterrupt):
    """SIGINT arrived.

    Not KeyboardInterrupt itself: ``python -m`` kills itself with SIGINT after ``main`` has
    returned if that very class once passed through an ``exec`` of a string (torch has many).
    """


class Terminated(BaseException):
    """SIGTERM arrived."""


class Parser(argparse.ArgumentParser):
    """An argument parser that says in one line what is wrong."""

    def error(self, message: str) -> NoReturn:
        """Refuse the arguments.

        Raises:
            InputError: always.
        """
        raise InputError(f"{message} (see {self.prog} --help)")


def main(arguments: list[str] | None = None) -> int:
    """Entry point of ``ltq``.

    Returns:
        exit code: 0; 1 where a verdict changed; 2 for bad input; 3 where a limit of an audit is
        broken; 130 or 143 where it was stopped.
    """
    try:
        with _stoppable():
            options = build_parser().parse_args(arguments)
            return options.run(options)
    except InputError as error:
        print(f"ltq: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("ltq: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    except Terminated:
        print("ltq: terminated; the same command goes on from here", file=sys.stderr)
        return 143
    except (MemoryError, RuntimeError) as error:
        if not _is_lack_of_memory(error):
            raise
        print("ltq: not enough memory: a smaller --width or --batch-size needs less",
              file=sys.stderr)  # fmt: skip
        return 2
    except BrokenPipeError:  # the reader of a pipe left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _is_lack_of_memory(error: Exception) -> bool:
    """Torch has a RuntimeError for it, with words of its own for each kind of memory."""
    words = ("can't allocate memory", "out of memory", "bad_alloc")
    return isinstance(error, MemoryError) or any(word in str(error) for word in words)


def build_parser() -> argparse.ArgumentParser:
    """The parser of the command line; each subcommand sets ``run``."""
    parser = Parser(prog="ltq", description="Quantization seen from the rare classes.")
    parser.add_argument("--version", action="version", version=f"ltqlib {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in (run, show, claims, publish, audit):
        name = command.__name__.rpartition(".")[2]
        told = (command.__doc__ or "").splitlines()[0]
        subparser = commands.add_parser(
            name, help=told.partition(": ")[2], description=told.replace("``", "")
        )
        command.add_options(subparser)
        subparser.set_defaults(run=command.main)
    return parser


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """A signal unwinds as an exception: locks are released, half-written files removed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    exceptions: dict[int, type[BaseException]] = {signal.SIGTERM: Terminated}
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where it is ignored
        exceptions[signal.SIGINT] = Interrupted

    def stop(number: int, _: object) -> None:
        raise exceptions[number]

    before = {number: signal.signal(number, stop) for number in exceptions}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
