"""What the parts of the torture suite share: counting, children that are struck, comparisons.

A child is forked from a process that has imported everything, so that a run of the smallest
experiment takes a second or two. An audit hook sees every change of a file that Python makes,
whatever code makes it: there a child can be killed, interrupted, or told that the disk is full.
"""

import errno
import multiprocessing
import os
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ltqlib.evidence.arrays import PACKING, read_dataset
from ltqlib.evidence.records import read_record

MODE = os.environ.get("LTQ_TORTURE", "")
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.truncate", "os.rmdir", "os.link")
KILL, TERM, INT, FULL, READ_ONLY, COUNT = "kill", "term", "int", "full", "read-only", "count"
SIGNALS = {KILL: signal.SIGKILL, TERM: signal.SIGTERM, INT: signal.SIGINT}
ERRORS = {FULL: errno.ENOSPC, READ_ONLY: errno.EROFS}
FACTOR, FIELDS = 0.02, {"epochs": 2, "stage2_images": 320, "width": 1 / 64}  # the smallest network
RECIPE = ("--profile=smoke", f"--imbalance-factor={FACTOR}",
          *(f"--{name.replace('_', '-')}={value}" for name, value in FIELDS.items()))  # fmt: skip
RUN = ("run", *RECIPE, "--threads=1", "--device=cpu", "--until=decouple")
EVALUATE, PUBLISH = ("evaluate",), ("publish", "--weights")
LIFE = (RUN, EVALUATE, PUBLISH)  # training, stage 2, evaluations, publishing

FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(["torture_warm"])
if MODE:
    known = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), *filter(None, known)])


def many(quick: int, full: int) -> int:
    """How often."""
    return full if MODE == "full" else quick


@dataclass
class Tally:
    """A row of the table: what was tried, how often, what came of it, what failed."""

    part: str
    what: str
    tried: int = 0
    failures: list[str] = field(default_factory=list)
    found: Counter[str] = field(default_factory=Counter)

    def saw(self, outcome: str, times: int = 1) -> None:
        """A try that ended as it should."""
        self.tried += times
        self.found[outcome] += times

    def failed(self, why: str) -> None:
        """A try that did not."""
        self.tried += 1
        self.failures.append(why[:1000])

    def check(self, right: bool, outcome: str, why: str) -> None:
        """A try that ended one way or the other."""
        self.saw(outcome) if right else self.failed(why)

    def told(self) -> dict[str, Any]:
        """As plain values."""
        counts = {"tried": self.tried, "failed": len(self.failures), "found": dict(self.found)}
        return {"part": self.part, "what": self.what, **counts, "failures": self.failures[:20]}


def one_line(text: str) -> bool:
    """Whether a message is one printable line."""
    return bool(text.strip()) and text.rstrip("\n").isprintable()


# --- children ---


@dataclass
class Blow:
    """What happens to a child at its ``number``-th change of a file below its home."""

    kind: str
    number: int
    every: bool = False  # and at each one after it


def strike(blow: Blow, home: Path) -> None:
    """Install ``blow`` in this process; there is no way back."""
    seen = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if not _changes(event, arguments, str(home)):
            return
        seen += 1
        if blow.kind == COUNT:
            os.write(2, f"change {seen}: {event}\n".encode())
        elif seen == blow.number or (blow.every and seen > blow.number):
            if blow.kind in ERRORS:
                raise OSError(ERRORS[blow.kind], os.strerror(ERRORS[blow.kind]), arguments[0])
            os.kill(os.getpid(), SIGNALS[blow.kind])

    sys.addaudithook(hook)


def _changes(event: str, arguments: tuple[Any, ...], home: str) -> bool:
    """Whether an event of the interpreter is about to change a file below ``home``."""
    if event == "open":
        path, mode, flags = arguments
        writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) or set(mode or "") & set("wax+")
        return bool(writes) and str(path).startswith(home)
    return event in CHANGES and str(arguments[0]).startswith(home)


def life(
    home: Path,
    steps: Sequence[Sequence[str]],
    blow: Blow | None = None,
    place: Path | None = None,
) -> None:
    """Body of a child: one step after the other, as long as they return 0."""
    os.environ["LTQ_HOME"] = str(home)
    told = os.open(place or told_by(home), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(told, 1)
    os.dup2(told, 2)
    import torch
    import torture_warm

    import ltqlib.progress
    import ltqlib.training.state
    from ltqlib import cli
    from ltqlib.experiment import networks

    torch.set_num_threads(1)
    if "--data=folder:photos" not in steps[0]:  # which has other layers
        networks.layer_costs = lambda network: torture_warm.COSTS
    ltqlib.training.state.EVERY = 0.0  # the state of the training after every epoch
    ltqlib.progress.Progress.__init__.__defaults__ = (0.0, 0)  # short work is told as well
    if blow:
        strike(blow, home)
    for step in steps:
        if code := evaluate(step[1:]) if step[0] == "evaluate" else cli.main(list(step)):
            sys.exit(code)


def evaluate(widths: Sequence[str] = ()) -> int:
    """The smallest evaluation, as a page asks for it."""
    import ltqlib as ltq
    from ltqlib.errors import InputError

    networks = ltq.train(ltq.load_data("digits", FACTOR), profile="smoke", seeds=[0], **FIELDS)
    try:
        ltq.evaluate(networks, bits=[int(width) for width in widths] or [32, 4])
    except InputError as error:  # as the command line does
        print(f"ltq: {error}", file=sys.stderr)
        return 2
    return 0


def told_by(home: Path) -> Path:
    """What the last child with this home wrote to standard output and error."""
    return home.with_name(f"{home.name}.told")


def start(home: Path, steps: Sequence[Sequence[str]], blow: Blow | None = None) -> Any:
    """A child, begun."""
    home.mkdir(parents=True, exist_ok=True)
    process = FORKED.Process(target=life, args=(home, steps, blow))
    process.start()
    return process


def run(home: Path, steps: Sequence[Sequence[str]], blow: Blow | None = None) -> int:
    """Exit code of a child (a signal is a negative number), and what it told in told_by(home)."""
    process = start(home, steps, blow)
    process.join()
    return int(process.exitcode)


# --- comparisons ---


ORIGIN = {"seconds", "created", "commit", "dirty", "python", "packages", "machine"}


def contents(home: Path) -> dict[str, Any]:
    """All files of a store by name, without times and provenance: equal where results are."""
    return {
        str(path.relative_to(home)): content(path)
        for path in sorted(home.rglob("*"))
        if path.is_file() and path.suffix != ".done"
    }


def content(path: Path) -> Any:
    """What a file says, without times and provenance."""
    if path.name in ("network.json", "stage2.json"):
        record = read_record(path)
        del record["provenance"], record["checksum"]
        record.get("training", {}).get("history", {}).pop("seconds", None)
        return record
    if path.name.endswith(".nc.xz"):
        found = read_dataset(path)
        attrs = {key: value for key, value in found.attrs.items() if key not in ORIGIN}
        arrays = {
            name: (variable.dims, variable.dtype.str, variable.values.tolist(), packing(variable))
            for name, variable in found.variables.items()
        }
        return attrs, arrays
    if path.name == "registry.txt":  # of the digests those of the weights alone have no times
        lines = [line.split() for line in path.read_text().splitlines()]
        return [line if line[0].endswith(".safetensors") else line[0] for line in lines]
    return path.read_bytes()


def rows_of(home: Path) -> set[int]:
    """Uniform widths of which outcomes of the baseline are kept in runs/."""
    found = [read_dataset(path) for path in home.glob("runs/*/outcomes-*.nc.xz")]
    return {
        row[0]
        for each in found
        if each.attrs["classifier"] == "baseline"
        for row in each["widths"].transpose("configuration", "layer").values.tolist()
        if len(set(row)) == 1
    }


def packing(variable: Any) -> dict[str, str]:
    """How a variable is stored."""
    return {key: str(variable.encoding[key]) for key in PACKING if key in variable.encoding}


def differences(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Names of files that differ, are missing, or are left over."""
    every = sorted(found.keys() | wanted.keys())
    return [name for name in every if found.get(name, "none") != wanted.get(name, "none")]
