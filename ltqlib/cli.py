"""``ltq``: run the experiment without Snakemake, show records."""

import argparse
import os
import sys

from ltqlib import experiment
from ltqlib.config import PROFILES, from_profile
from ltqlib.errors import InputError


def main(arguments: list[str] | None = None) -> int:
    """Entry point of ``ltq``; returns the exit code (2 for bad input)."""
    parser = argparse.ArgumentParser(prog="ltq", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="compute the records of one run")
    run.add_argument("--profile", default="smoke", help=", ".join(PROFILES))
    run.add_argument("--imbalance-factor", type=float, default=0.01)
    run.add_argument("--seed", type=int, default=0)
    run.add_argument("--data")
    run.add_argument("--device", default="auto")
    run.add_argument("--threads", type=int)
    run.add_argument("--until", default="train")
    options = parser.parse_args(arguments)
    changes = {"data": options.data} if options.data else {}
    if options.threads:
        import torch

        torch.set_num_threads(options.threads)
    try:
        config = from_profile(
            options.profile,
            imbalance_factor=options.imbalance_factor,
            seed=options.seed,
            **changes,
        )
        record = experiment.get_or_run(config, options.until, options.device)
    except InputError as error:
        print(f"ltq: {error}", file=sys.stderr)
        return 2
    print(record["digest"], record["step"], record["checksum"], os.getpid())
    return 0
