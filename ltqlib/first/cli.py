"""The command ``ltq``: run the experiment without Snakemake, show records, check claims."""

import argparse
import json
import sys
from typing import Any

from ltqlib.first import experiment, paths, records
from ltqlib.first.config import ARCHITECTURES, LOSSES, PROFILES, SAMPLERS, SCHEDULES, from_profile
from ltqlib.first.errors import InputError
from ltqlib.first.longtail import CLASS_ORDERS

# options of `ltq run` that change a field of the profile
FIELDS = (
    *("data", "arch", "width", "train_images", "epochs"),
    *("schedule", "sampler", "loss", "mixup"),
)


def main(arguments: list[str] | None = None) -> int:
    """Entry point of ``ltq``; returns the exit code: 0, 1 (a verdict differs) or 2 (bad input)."""
    options = build_parser().parse_args(arguments)
    try:
        return options.run(options)
    except InputError as error:
        print(f"ltq: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of a pipe left, as `head` does
        return 0


def build_parser() -> argparse.ArgumentParser:
    """The parser of the command line; each subcommand sets ``run``."""
    parser = argparse.ArgumentParser(
        prog="ltq", description="Quantization seen from the rare classes."
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_run(commands.add_parser("run", help="compute the records of one run, resuming"))
    show = commands.add_parser("show", help="list the records, or show those of one run")
    show.add_argument("digest", nargs="?", help="a run, or the beginning of its digest")
    show.add_argument("--json", action="store_true", help="one JSON document instead of a table")
    show.set_defaults(run=_show)
    claims = commands.add_parser("claims", help="every claim with its verdict; 1 if one changed")
    claims.add_argument("--profile", default="laptop", choices=PROFILES)
    claims.set_defaults(run=_claims)
    publish = commands.add_parser("publish", help="copy the records of trained runs to results/")
    publish.add_argument("--profile", default="laptop", choices=PROFILES)
    publish.add_argument("--weights", action="store_true", help="the checkpoints as well")
    publish.set_defaults(run=_publish)
    return parser


def _add_run(run: argparse.ArgumentParser) -> None:
    run.add_argument("--profile", default="laptop", help=f"one of {', '.join(PROFILES)}")
    run.add_argument("--imbalance-factor", type=float, default=0.01, help="n_min/n_max in (0, 1]")
    run.add_argument("--seed", type=int, default=0)
    run.add_argument("--data", help="cifar10, digits or folder:PATH; default: the profile's")
    orders = ", ".join(CLASS_ORDERS)
    run.add_argument(
        "--class-order", help=f"labels from most to least frequent, 9,8,7,...; or {orders}"
    )
    run.add_argument("--arch", choices=ARCHITECTURES)
    run.add_argument("--width", type=float, help="of every hidden layer, 1 is the usual one")
    run.add_argument("--train-images", type=int, help="images seen in stage 1")
    run.add_argument("--epochs", type=int, help="instead of --train-images; 0: none given")
    run.add_argument("--schedule", choices=SCHEDULES)
    run.add_argument("--sampler", choices=SAMPLERS)
    run.add_argument("--loss", choices=LOSSES)
    run.add_argument("--mixup", type=float, help="alpha of mixup in stage 1; 0: none")
    run.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"))
    run.add_argument("--threads", type=int, help="threads of the CPU; default: all")
    run.add_argument("--until", default="mpq", help=f"last step: {', '.join(experiment.STEPS)}")
    run.add_argument("--json", action="store_true", help="one JSON line at the end")
    run.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    changes: dict[str, Any] = {
        name: getattr(options, name) for name in FIELDS if getattr(options, name) is not None
    }
    if options.class_order:
        changes["class_order"] = _class_order(options.class_order)
    config = from_profile(
        options.profile, imbalance_factor=options.imbalance_factor, seed=options.seed, **changes
    )
    steps = experiment.until(options.until)
    _check_device(options.device)
    if options.threads:
        import torch

        torch.set_num_threads(options.threads)
    done = {step: experiment.get_or_run(config, step, options.device)["checksum"] for step in steps}
    if options.json:
        print(json.dumps({"digest": config.digest(), "config": config.public(), "records": done}))
    else:
        print(f"{config.digest()}  {config.label()}: {', '.join(done)}")
    return 0


def _class_order(text: str) -> tuple[int, ...]:
    if text in CLASS_ORDERS:
        return CLASS_ORDERS[text]
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(
            f"--class-order {text!r} is neither a list of labels like 9,8,7 nor one of "
            f"{', '.join(CLASS_ORDERS)}"
        ) from error


def _check_device(device: str) -> None:
    """Refuse a device that this machine does not have, before any work is done."""
    if device in ("auto", "cpu"):
        return
    import torch

    there = torch.cuda.is_available() if device == "cuda" else torch.backends.mps.is_available()
    if not there:
        raise InputError(f"--device {device}: this machine has none; use auto or cpu")


def _show(options: argparse.Namespace) -> int:
    found = {
        digest: folder
        for folder in (paths.runs(), paths.results())  # the published record wins
        for digest in records.digests(folder)
    }
    if options.digest:
        return _show_one(options.digest, found, options.json)
    rows = []
    for digest, folder in sorted(found.items()):
        record = records.read(folder / digest / "data.json")
        steps = [s for s in experiment.STEPS if (folder / digest / f"{s}.json").exists()]
        where = {"digest": digest, "place": folder.name, "config": record["config"], "steps": steps}
        rows.append(where)
    if options.json:
        print(json.dumps(rows))
        return 0
    for row in rows:
        c = row["config"]
        name = f"{c['profile']} {c['arch']} x{c['width']:g} IF {c['imbalance_factor']:g}"
        print(f"{row['digest']}  {row['place']:8} {name} seed {c['seed']} {c['data']}: "
              f"{', '.join(row['steps'])}")  # fmt: skip
    if not rows:
        print("no records yet: `ltq run --profile smoke` makes some in a minute")
    return 0


def _show_one(start: str, found: dict[str, Any], as_json: bool) -> int:
    matches = [digest for digest in found if digest.startswith(start)]
    if len(matches) != 1:
        raise InputError(f"{start!r} names {len(matches)} runs: `ltq show` lists the digests")
    folder = found[matches[0]] / matches[0]
    shown = [records.read(path) for path in sorted(folder.glob("*.json"))]
    if as_json:
        print(json.dumps(shown))
        return 0
    for record in shown:
        origin = record["provenance"]
        dirty = " (dirty)" if origin["dirty"] else ""
        print(f"{record['step']:12} {origin['seconds']:8.1f} s  {origin['created']}  "
              f"commit {str(origin['commit'])[:10]}{dirty}  {record['checksum'][:12]}")  # fmt: skip
    print(json.dumps(shown[0]["config"], indent=1))
    return 0


def _claims(options: argparse.Namespace) -> int:
    from ltqlib.first import claims

    results = claims.evaluate(options.profile)
    for result in results:
        print(f"{result.verdict:17} {result.claim.section}  {result.claim.sentence}")
        for test in result.tests:
            interval = f"{test.value:+.2f} [{test.low:+.2f}, {test.high:+.2f}] {test.unit}"
            print(f"{'':22} {test.name}: {interval}")
    changed = claims.disagreements(results)
    for line in changed:
        print(f"ltq: verdict changed: {line}", file=sys.stderr)
    return 1 if changed else 0


def _publish(options: argparse.Namespace) -> int:
    from ltqlib.first.publish import publish

    for digest, steps in publish(options.profile, options.weights).items():
        print(f"results/{digest}: {', '.join(steps)}")
    return 0
