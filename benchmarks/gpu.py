"""Train and evaluate many networks on one GPU, in calls of a few minutes.

    python -m benchmarks.gpu --plan width --minutes 9 [--processes 8] [--no-weights] [--pack FILE]

One process a network, several side by side on the card; each trains (bfloat16), decouples and
evaluates, and keeps what it has in ``runs/``. A call ends by itself after ``--minutes``, or when
the plan is done; the next call with the same plan goes on from there, bit for bit. It leaves with
0 when everything is done, 3 when there is more to do, 1 when a network failed (its log says why).

``--plan`` is a name (below) or a YAML file: a list of ``{profile, seeds, imbalance_factor, ...}``
with fields of a configuration, and besides ``smoothed``, which adds a network with the same first
stage whose second has labels smoothed by so much (head), and ``classifiers``, more of them, which
are evaluated as float models. Several names are joined with commas. ``--no-weights`` deletes the
weights of a network when its records are there. ``--pack FILE`` writes the records of all
networks that are done as tar files of at most ``--part`` MiB (FILE.0.tar, FILE.1.tar, ...), to be
unpacked in ``runs/``.

Without a network: CIFAR-10's archive goes to ``data/cifar-10-binary.tar.gz``, in pieces if need be
(``split -b 20M``, then ``cat``).
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ltqlib import paths
from ltqlib.config import RunConfig, from_profile
from ltqlib.data import CLASS_ORDERS
from ltqlib.errors import InputError

Entry = dict[str, Any]  # profile, one seed, and fields of a configuration

RARE = {"profile": "laptop", "imbalance_factor": 0.01}
SEEDS = range(3)
LARGE = {"classifiers": ["logit-adjusted", "tau-norm"], "seeds": SEEDS}
AVERAGED = {"schedule": "constant", "swa": 0.25}
SMOOTHED = {0.01: 0.3, 0.02: 0.2, 0.1: 0.1}  # of label-aware smoothing, its authors' values
# what recipes are chosen from, each with a plain second stage and one with smoothed labels
CANDIDATES: list[Entry] = [
    {},
    {"mixup": 1.0},
    AVERAGED,
    {**AVERAGED, "mixup": 1.0},
    {"sam": 0.1},
    {"weight_decay": 2e-3},
    {"weight_decay": 5e-3},
]
PLANS: dict[str, list[Entry]] = {
    # on four fifths of the training images, judged on the others: no test image is looked at
    "choice": [
        {**RARE, **recipe, "holdout": 0.2, "seeds": SEEDS, "smoothed": 0.3} for recipe in CANDIDATES
    ],
    "width": [
        {**RARE, "width": 0.5, **LARGE},
        {**RARE, "width": 1.0, **LARGE},
        *({**RARE, "width": 0.5, "epochs": epochs, "seeds": SEEDS} for epochs in (12, 50)),
        *({**RARE, "imbalance_factor": f, "width": 1.0, **LARGE} for f in (0.1, 0.02)),
    ],
    "resnet": [{"profile": "resnet", "imbalance_factor": 0.01, **LARGE}],
    "recipes": [
        {**RARE, **recipe, "seeds": SEEDS}
        for recipe in (
            {"loss": "balanced-softmax"},
            {"loss": "ldam-drw"},
            {"weight_decay": 2e-3},
            {"weight_decay": 5e-3},
        )
    ],
    "averaged": [{**RARE, **AVERAGED, "imbalance_factor": 0.02, "seeds": SEEDS}],
    "orders": [
        {**RARE, "class_order": order, "seeds": SEEDS} for order in CLASS_ORDERS.values() if order
    ],
    "length": [
        {"profile": "laptop", "imbalance_factor": 0.1, "epochs": epochs, "seeds": SEEDS}
        for epochs in (12, 50)
    ],
    "balanced": [{"profile": "laptop", "epochs": 60, "seeds": SEEDS}],
    # the main grid's networks again, to see what another machine changes
    "again": [{**RARE, "seeds": SEEDS}],
    # seconds on a CPU: for tests, and to see that everything is there
    "smoke": [
        {"profile": "smoke", "imbalance_factor": 0.1, "width": 1 / 32, "epochs": 4, "seeds": [0, 1]}
    ],
}
EXTRA = ("smoothed", "classifiers")  # of an entry, beside the fields of a configuration
METHODS = ("w-tensor",)
CLASSIFIERS = ("baseline", "crt")
FAILED, MORE = 1, 3  # exit codes


def entries(plan: str) -> list[Entry]:
    """One entry a network, in the order in which they are trained.

    Raises:
        InputError: a plan that is neither known nor a readable file.
    """
    found: list[Entry] = []
    for name in plan.split(","):
        listed = PLANS.get(name) or _read_plan(Path(name))
        found += [
            {**{k: v for k, v in entry.items() if k != "seeds"}, "seed": int(seed)}
            for entry in listed
            for seed in entry.get("seeds", [0])
        ]
    return found


def _read_plan(path: Path) -> list[Entry]:
    import yaml

    try:
        listed = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"plan {path} is no name ({', '.join(PLANS)}) and no YAML file") from error
    if not isinstance(listed, list) or not all(isinstance(entry, dict) for entry in listed):
        raise InputError(f"plan {path} is no list of configurations: begin each with a dash")
    return listed


def config_of(entry: Entry) -> RunConfig:
    """The configuration of an entry: its digest names its folder.

    Raises:
        InputError: a field or value that makes no sense.
    """
    fields = {name: value for name, value in entry.items() if name not in EXTRA}
    if "class_order" in fields:
        fields["class_order"] = tuple(fields["class_order"])
    return from_profile(**fields)


def marker(entry: Entry, how: Mapping[str, Any]) -> Path:
    """A file that is there once everything asked for of a network is."""
    from ltqlib.evidence.store import key_of

    asked = {name: how[name] for name in ("classifiers", "methods", "bits")}
    return paths.runs(config_of(entry).digest()) / f"done-{key_of(asked)}"


def work(entry: Entry, how: Mapping[str, Any], device: str) -> None:
    """Everything of one network: train, decouple, evaluate, keep."""
    import torch

    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // how["processes"]))
    torch.backends.cudnn.allow_tf32 = False  # float32 means float32 in evaluations
    for one in stages(entry):
        _one(one, how, device)
    if not how["weights"]:
        for one in stages(entry):
            for path in paths.runs(config_of(one).digest()).glob("*.safetensors"):
                path.unlink()
    marker(entry, how).touch()


def stages(entry: Entry) -> list[Entry]:
    """The entry, and the one whose second stage has smoothed labels."""
    if "smoothed" not in entry:
        return [entry]
    first = {name: value for name, value in entry.items() if name != "smoothed"}
    return [first, {**first, "stage2_smooth_head": entry["smoothed"]}]


def _one(entry: Entry, how: Mapping[str, Any], device: str) -> None:
    """Train, decouple and evaluate one network; on the held-out images where there are some."""
    from ltqlib.data import load_data
    from ltqlib.experiment import decouple, evaluate, train

    config = config_of(entry)
    fields = {k: v for k, v in entry.items() if k not in ("profile", "seed", "data", *EXTRA)}
    told = ("imbalance_factor", "class_order")
    data = load_data(config.data, *(getattr(config, name) for name in told))
    recipe = {name: value for name, value in fields.items() if name not in told}
    networks = train(data, profile=config.profile, seeds=[config.seed], device=device, **recipe)
    on = data.held_out(config.holdout) if config.holdout else None
    for classifier in how["classifiers"]:
        models = networks if classifier == "baseline" else decouple(networks, classifier, device)
        for method in how["methods"]:
            evaluate(models, on, method=method, bits=[32] if config.holdout else how["bits"])
    for classifier in entry.get("classifiers", ()):
        evaluate(decouple(networks, classifier, device), bits=[32])


class Pool:
    """Child processes, one a network; they end when the pool is left, whatever happens."""

    def __init__(self, how: Mapping[str, Any], device: str) -> None:
        self.how, self.device = how, device
        self.running: dict[str, tuple[subprocess.Popen[bytes], Entry]] = {}
        self.failed: list[Entry] = []

    def __enter__(self) -> "Pool":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(FAILED))
        return self

    def __exit__(self, *_: object) -> None:
        children = [process for process, _ in self.running.values()]
        for process in children:
            process.terminate()
        for process in children:
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()

    def start(self, entry: Entry) -> None:
        """Begin, or go on with, one network; its words go to ``runs/<digest>/gpu.log``."""
        digest = config_of(entry).digest()
        folder = paths.runs(digest)
        folder.mkdir(parents=True, exist_ok=True)
        told = json.dumps([entry, dict(self.how), self.device])
        with (folder / "gpu.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.gpu", "--one", told], stdout=log, stderr=log
            )
        self.running[digest] = (process, entry)

    def collect(self) -> list[Entry]:
        """The entries whose process has ended."""
        ended = [digest for digest, (child, _) in self.running.items() if child.poll() is not None]
        found = []
        for digest in ended:
            process, entry = self.running.pop(digest)
            found.append(entry)
            if process.returncode:
                self.failed.append(entry)
        return found


def run(plan: Iterable[Entry], how: Mapping[str, Any], device: str, minutes: float) -> int:
    """Train and evaluate what the plan has left, until it is done or the time is over."""
    plan = list(plan)
    left = [entry for entry in plan if not marker(entry, how).exists()]
    deadline = time.monotonic() + 60 * minutes
    started = time.monotonic()
    with Pool(how, device) as pool:
        while (left or pool.running) and time.monotonic() < deadline:
            while left and len(pool.running) < how["processes"]:
                pool.start(left.pop(0))
            time.sleep(0.1)
            for entry in pool.collect():
                word = "FAILED, see gpu.log" if entry in pool.failed else "done"
                seconds = time.monotonic() - started
                config = config_of(entry)
                print(f"{seconds:6.0f} s  {config.digest()} {config.label()}: {word}")
    done = sum(marker(entry, how).exists() for entry in plan)
    print(f"{done} of {len(plan)} networks are done", flush=True)
    return FAILED if pool.failed else 0 if done == len(plan) else MORE


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
    parser.add_argument("--plan", default="width", help=f"{', '.join(PLANS)}, or a YAML file")
    parser.add_argument("--minutes", type=float, default=9, help="after which this call ends")
    parser.add_argument("--processes", type=int, default=8, help="networks side by side")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--no-weights", action="store_true", help="keep records alone")
    parser.add_argument("--classifiers", nargs="+", default=list(CLASSIFIERS))
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--bits", type=int, nargs="+", default=[32, 6, 5, 4, 3])
    parser.add_argument("--pack", type=Path, metavar="FILE", help="write tar files of the records")
    parser.add_argument("--part", type=float, default=15, help="MiB of a tar file, at most")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        work(*json.loads(options.one))
        return 0
    how = {
        "classifiers": options.classifiers,
        "methods": options.methods,
        "bits": options.bits,
        "weights": not options.no_weights,
        "processes": options.processes,
    }
    plan = entries(options.plan)
    code = run(plan, how, options.device, options.minutes)
    if options.pack:
        for path in pack(plan, how, options.pack, options.part):
            print(path)
    return code


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
