"""Progress of long work: a bar on a terminal, plain lines otherwise, with the time left."""

import math
import sys
import time
from types import TracebackType
from typing import Any


class Progress:
    """Count ``total`` units of work; prints at most one line every ``interval`` seconds.

    ``done`` units were done before, by a run that this one goes on with: they count in the share
    and not in the speed from which the time left is estimated.
    On a terminal it is a tqdm bar. Elsewhere a line holds the share done, the time left in
    minutes, and ``note``; work that ends within ``interval``, or has no name, prints nothing.
    Everything goes to standard error, so ``--json`` stays clean.
    """

    def __init__(self, total: int, what: str, interval: float = 20.0, done: int = 0) -> None:
        self.total, self.what, self.interval = total, what, interval if what else math.inf
        self.before = self.done = done
        self.started = self.printed = time.monotonic()
        self.bar: Any = None
        if what and sys.stderr.isatty():
            from tqdm import tqdm

            self.bar = tqdm(total=total, initial=done, desc=what, file=sys.stderr)

    def update(self, amount: int = 1, note: str = "") -> None:
        """Count ``amount`` more units as done."""
        self.done += amount
        if self.bar is not None:
            self.bar.update(amount)
            self.bar.set_postfix_str(note)
            return
        now = time.monotonic()
        if now - self.printed >= self.interval:
            self.printed = now
            pace = (now - self.started) / max(self.done - self.before, 1)
            left = pace * (self.total - self.done)
            share = 100 * self.done / max(self.total, 1)
            line = f"{self.what}: {share:3.0f} %, about {left / 60:.1f} min left {note}"
            print(line.rstrip(), file=sys.stderr, flush=True)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.bar is not None:
            self.bar.close()
        elif kind is None and self.printed > self.started:  # short work says nothing
            seconds = time.monotonic() - self.started
            print(f"{self.what}: done in {seconds:.1f} s", file=sys.stderr, flush=True)
