"""Train and evaluate many networks on one GPU, in calls of a few minutes.

    nvidia-cuda-mps-control -d   # where it is installed: processes share the card, twice as fast
    python -m benchmarks.gpu --plan full --minutes 9 [--processes 16] [--no-weights] [--pack FILE]

Several networks are trained side by side, each by a process that goes on to the next one (a new
process needs ten seconds before its first step). A network is trained (bfloat16), decoupled and
evaluated; what there is of it is kept in ``runs/``. A call ends by itself after ``--minutes``, or
when the plan is done; the next call with the same plan goes on from there, bit for bit. It leaves
with 0 when everything is done, 3 when there is more to do, 1 when a network failed (its log says
why).

``--plan`` is a name of ``benchmarks/plans.yml``, or several joined with commas, or a YAML file with
a list of such entries. ``--no-weights`` deletes the weights of a network when its records are
there. ``--pack FILE`` writes the records of all networks that are done as tar files of at most
``--part`` MiB (FILE.0.tar, FILE.1.tar, ...), to be unpacked in ``runs/``.

How fast: book/log.md, 2026-11-28. A small network is limited by the number of its kernels, not by
their arithmetic: prefer the full width.
"""

import argparse
import itertools
import multiprocessing
import os
import signal
import sys
import tarfile
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import yaml

from ltqlib import paths
from ltqlib.config import RunConfig, from_profile
from ltqlib.data import CLASS_ORDERS
from ltqlib.errors import InputError, exit_code

Entry = dict[str, Any]  # fields of a configuration with one seed, and those of EXTRA

PLANS = Path(__file__).with_name("plans.yml")
EXTRA = ("smoothed", "classifiers")
METHODS = ("w-tensor",)
CLASSIFIERS = ("baseline", "crt")
FAILED, MORE = 1, 3  # exit codes


def entries(plan: str) -> list[Entry]:
    """One entry a network, in the order in which they are trained.

    Raises:
        InputError: a plan that is neither known nor a readable file.
    """
    known = _read(PLANS)
    found: list[Entry] = []
    for name in plan.split(","):
        listed = known[name] if name in known else _read(Path(name), known)
        if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
            raise InputError(f"plan {name} is no list of configurations: begin each with a dash")
        found += [one for entry in listed for one in _each(entry)]
    return found


def _read(path: Path, known: Iterable[str] = ()) -> Any:
    try:
        return yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        names = ", ".join(known)
        raise InputError(f"plan {path} is no name ({names}) and no YAML file") from error


def _each(entry: Entry) -> Iterator[Entry]:
    """One entry for each imbalance factor and seed."""
    factors = entry.get("imbalance_factor", 1.0)
    factors = factors if isinstance(factors, list) else [factors]
    for factor, seed in itertools.product(factors, entry.get("seeds", [0])):
        one = {name: value for name, value in entry.items() if name != "seeds"}
        yield {**one, "imbalance_factor": factor, "seed": seed}


def config_of(entry: Entry) -> RunConfig:
    """The configuration of an entry: its digest names its folder.

    Raises:
        InputError: a field or value that makes no sense.
    """
    fields = {name: value for name, value in entry.items() if name not in EXTRA}
    if "class_order" in fields:
        order = fields["class_order"]
        fields["class_order"] = tuple(CLASS_ORDERS[order] if isinstance(order, str) else order)
    return from_profile(**fields)


def stages(entry: Entry) -> list[Entry]:
    """The entry, and the one whose second stage has smoothed labels."""
    first = {name: value for name, value in entry.items() if name != "smoothed"}
    if "smoothed" not in entry:
        return [first]
    return [first, {**first, "stage2_smooth_head": entry["smoothed"]}]


def marker(entry: Entry, how: Mapping[str, Any]) -> Path:
    """A file that is there once everything asked for of a network is."""
    from ltqlib.evidence.store import key_of

    asked = {name: how[name] for name in ("classifiers", "methods", "bits")}
    return paths.runs(config_of(entry).digest()) / f"done-{key_of(asked)}"


def work(entry: Entry, how: Mapping[str, Any], device: str) -> None:
    """Everything of one network: train, decouple, evaluate, keep."""
    for one in stages(entry):
        _one(one, how, device)
    if not how["weights"]:
        for one in stages(entry):
            for path in paths.runs(config_of(one).digest()).glob("*.safetensors"):
                path.unlink()
    marker(entry, how).touch()


def _one(entry: Entry, how: Mapping[str, Any], device: str) -> None:
    """Train, decouple and evaluate one network; on the held-out images where there are some."""
    from ltqlib.data import load_data
    from ltqlib.experiment import decouple, evaluate, train

    config = config_of(entry)
    data = load_data(config.data, config.imbalance_factor, config.class_order)
    told = ("profile", "seed", "data", "imbalance_factor", "class_order", *EXTRA)
    recipe = {name: value for name, value in entry.items() if name not in told}
    networks = train(data, profile=config.profile, seeds=config.seed, device=device, **recipe)
    on, bits = None, how["bits"]
    if config.holdout:
        on, bits = data.held_out(config.holdout), [32]
    for classifier in how["classifiers"]:
        models = networks if classifier == "baseline" else decouple(networks, classifier, device)
        evaluate(models, on, bits, how["methods"])
    for classifier in entry.get("classifiers", ()):
        evaluate(decouple(networks, classifier, device), on, [32])


class Workers:
    """Processes that train one network after the other; they end when this is left."""

    def __init__(self, how: Mapping[str, Any], device: str) -> None:
        import torch  # noqa: F401  # once, for all that are forked

        self.how, self.device = how, device
        self.processes: dict[Connection, Any] = {}
        self.busy: dict[Connection, Entry] = {}

    def __enter__(self) -> "Workers":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(FAILED))
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            process.join(10)
            process.kill()

    def start(self, entry: Entry) -> None:
        """Give a network to a process that is free, or to a new one."""
        free = [pipe for pipe in self.processes if pipe not in self.busy]
        pipe = free[0] if free else self._fork()
        pipe.send(entry)
        self.busy[pipe] = entry

    def collect(self, seconds: float) -> Iterator[tuple[Entry, bool]]:
        """The networks that have ended, at the latest after so many seconds, and whether well."""
        for pipe in wait(list(self.busy), seconds):
            assert isinstance(pipe, Connection)
            entry = self.busy.pop(pipe)
            try:
                well = pipe.recv()
            except EOFError:  # the process was killed
                well = False
            if not well:  # what went wrong may have gone wrong with the process
                self.processes.pop(pipe).kill()
            yield entry, well

    def _fork(self) -> Connection:
        context = multiprocessing.get_context("fork")
        here, there = context.Pipe()
        process = context.Process(target=_serve, args=(there, self.how, self.device), daemon=True)
        process.start()
        there.close()
        self.processes[here] = process
        return here


def _serve(pipe: Connection, how: Mapping[str, Any], device: str) -> None:
    """Train what comes through the pipe; the words of a network go to ``runs/<digest>/gpu.log``."""
    import torch

    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # ends at once, not as the parent does
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // how["processes"]))
    torch.backends.cudnn.allow_tf32 = False  # float32 means float32, in features as well
    while True:
        entry = pipe.recv()
        folder = paths.runs(config_of(entry).digest())
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "gpu.log").open("ab") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        try:
            work(entry, how, device)
            pipe.send(True)
        except Exception:
            traceback.print_exc()
            pipe.send(False)


def run(plan: Iterable[Entry], how: Mapping[str, Any], device: str, minutes: float) -> int:
    """Train and evaluate what the plan has left, until it is done or the time is over."""
    plan, failed, started = list(plan), False, time.monotonic()
    left = [entry for entry in plan if not marker(entry, how).exists()]
    with Workers(how, device) as workers:
        while (left or workers.busy) and time.monotonic() < started + 60 * minutes:
            while left and len(workers.busy) < how["processes"]:
                workers.start(left.pop(0))
            for entry, well in workers.collect(0.5):
                failed |= not well
                config, seconds = config_of(entry), time.monotonic() - started
                word = "done" if well else "FAILED, see gpu.log"
                print(f"{seconds:6.0f} s  {config.digest()} {config.label()}: {word}", flush=True)
    done = sum(marker(entry, how).exists() for entry in plan)
    print(f"{done} of {len(plan)} networks are done", flush=True)
    return FAILED if failed else 0 if done == len(plan) else MORE


def pack(plan: Iterable[Entry], how: Mapping[str, Any], target: Path, part: float) -> list[Path]:
    """Tar files with the records of the networks that are done, each of at most ``part`` MiB."""
    kept = (".json", ".xz", ".safetensors") if how["weights"] else (".json", ".xz")
    files = [
        path
        for entry in plan
        if marker(entry, how).exists()
        for one in stages(entry)
        for path in sorted(paths.runs(config_of(one).digest()).iterdir())
        if path.suffix in kept
    ]
    targets = []
    for number, members in enumerate(_parts(files, part * 2**20 - tarfile.RECORDSIZE)):
        targets.append(target.with_name(f"{target.name}.{number}.tar"))
        with tarfile.open(targets[-1], "w") as archive:
            for path in members:
                archive.add(path, f"{path.parent.name}/{path.name}")
    return targets


def _parts(files: list[Path], limit: float) -> list[list[Path]]:
    """The files in their order, cut where a tar file would pass ``limit`` bytes."""
    parts: list[list[Path]] = []
    room = 0.0
    for path in files:
        taken = path.stat().st_size + 2 * tarfile.BLOCKSIZE  # with its header and padding
        if taken > room:
            parts.append([])
            room = limit
        parts[-1].append(path)
        room -= taken
    return parts


def main() -> int:
    """Parse the arguments and do it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plan", default="full", help=f"of {PLANS.name}, or a YAML file")
    parser.add_argument("--minutes", type=float, default=9, help="after which this call ends")
    parser.add_argument("--processes", type=int, default=16, help="networks side by side")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--no-weights", action="store_true", help="keep records alone")
    parser.add_argument("--classifiers", nargs="+", default=list(CLASSIFIERS))
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--bits", type=int, nargs="+", default=[32, 6, 5, 4, 3])
    parser.add_argument("--pack", type=Path, metavar="FILE", help="write tar files of the records")
    parser.add_argument("--part", type=float, default=15, help="MiB of a tar file, at most")
    options = parser.parse_args()
    how = {
        "classifiers": options.classifiers,
        "methods": options.methods,
        "bits": options.bits,
        "weights": not options.no_weights,
        "processes": options.processes,
    }
    plan = entries(options.plan)
    for entry in plan:
        config_of(entry)  # what makes no sense is refused before anything is trained
    code = run(plan, how, options.device, options.minutes)
    if options.pack:
        for path in pack(plan, how, options.pack, options.part):
            print(path)
    return code


if __name__ == "__main__":
    sys.exit(exit_code(main))
