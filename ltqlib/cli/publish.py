"""``ltq publish``: copy complete networks from runs/ to results/, for review."""

import argparse
import sys

from ltqlib import paths
from ltqlib.config import PROFILES


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``ltq publish``."""
    parser.add_argument("--profile", choices=PROFILES, help="left out: all")
    parser.add_argument("--weights", action="store_true", help="the checkpoints as well")


def main(options: argparse.Namespace) -> int:
    """Copy, and say what is new."""
    from ltqlib.evidence.publish import publish

    done = publish(options.profile, options.weights)
    for digest, files in done.files.items():
        weights = ", weights" if digest in done.weights else ""
        print(f"results/{digest}: {', '.join(files) or 'nothing new'}{weights}")
    for folder in (paths.results(), paths.checkpoints()):
        size = sum(path.stat().st_size for path in folder.glob("*/*"))
        print(f"{folder.name}/: {size / 1e6:.1f} MB")
    if done.left_out:
        print(f"ltq: no room for the checkpoints of {', '.join(done.left_out)}", file=sys.stderr)
    return 0
