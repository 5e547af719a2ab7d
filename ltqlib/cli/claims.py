"""``ltq claims``: every claim with its verdict; exit code 1 if one is not the committed one."""

import argparse
import sys

from ltqlib.config import PROFILES, from_profile
from ltqlib.errors import InputError

COMMITTED = "laptop"  # the profile that the committed verdicts are about


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``ltq claims``."""
    parser.add_argument("--profile", default=COMMITTED, choices=PROFILES)


def main(options: argparse.Namespace) -> int:
    """Print the claims; compare with ``book/claims.yml`` for the profile of the book."""
    from ltqlib.paper.claims import disagreements, evaluate_claims

    source = PROFILES[options.profile]["data"]
    _check_networks(options.profile)
    results = evaluate_claims(options.profile, source)
    for result in results:
        print(f"{result.verdict:17} {result.claim.section}  {result.claim.sentence}")
        for test in result.tests:
            interval = f"{test.value:+.2f} [{test.low:+.2f}, {test.high:+.2f}] {test.unit}"
            print(f"{'':22} {test.name}: {interval}")
    changed = disagreements(results) if options.profile == COMMITTED else []
    for line in changed:
        print(f"ltq: verdict changed: {line}", file=sys.stderr)
    return 1 if changed else 0


def _check_networks(profile: str) -> None:
    """Refuse to train: a claim is checked on networks that are there.

    Raises:
        InputError: saying which network is missing, and the command that trains it.
    """
    from ltqlib.experiment.networks import known_seeds
    from ltqlib.paper.claims import FACTORS

    for factor in FACTORS:
        if not known_seeds(from_profile(profile, imbalance_factor=factor)):
            raise InputError(
                f"no network of profile {profile} at imbalance factor {factor:g} is known: "
                f"`ltq run --profile {profile} --imbalance-factor {factor:g}` trains one"
            )
