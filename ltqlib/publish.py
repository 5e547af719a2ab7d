"""From runs/ (working, ignored by git) to results/ (published, reviewed, in git)."""

import shutil

from ltqlib import experiment, paths, records
from ltqlib.errors import InputError, disk_errors


def publish(profile: str) -> list[str]:
    """Copy the complete, verified records of a profile into results/; returns the digests.

    A run with a step missing or made with other options is left out. Records are text; nothing
    else is copied.

    Raises:
        InputError: no complete run of the profile, or a damaged record.
    """
    published = []
    for digest in records.digests(paths.runs()):
        found = {}
        for step in experiment.STEPS.values():
            path = paths.runs(digest) / f"{step.name}.json"
            if path.exists():
                record = records.read(path)
                if record["options"] == step.options:
                    found[step.name] = path
        if record["config"]["profile"] != profile or len(found) < len(experiment.STEPS):
            continue
        with disk_errors(paths.results(digest)):
            paths.results(digest).mkdir(parents=True, exist_ok=True)
            for path in found.values():
                shutil.copyfile(path, paths.results(digest) / path.name)
        published.append(digest)
    if not published:
        raise InputError(f"no complete run of profile {profile!r} in {paths.runs()}: run it first")
    return published
