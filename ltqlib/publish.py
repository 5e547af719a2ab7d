"""From runs/ (working, ignored by git) to results/ (published, reviewed, in git)."""

from ltqlib import experiment, paths, records
from ltqlib.errors import InputError
from ltqlib.files import write_whole


def publish(profile: str) -> dict[str, list[str]]:
    """Copy the verified records of a profile into results/; returns the steps by digest.

    A run counts once its models are trained and tested (step ``decouple``); a record that was made
    with other options than the library now has is left out. Nothing but records is copied.

    Raises:
        InputError: no such run of the profile, or a damaged record.
    """
    published: dict[str, list[str]] = {}
    for digest in records.digests(paths.runs()):
        found = {}
        for step in experiment.STEPS.values():
            path = paths.runs(digest) / f"{step.name}.json"
            if path.exists():
                record = records.read(path)
                if record["config"]["profile"] == profile and record["options"] == step.options:
                    found[step.name] = path
        if "decouple" not in found:
            continue
        for path in found.values():
            write_whole(paths.results(digest) / path.name, path.read_bytes())
        published[digest] = list(found)
    if not published:
        raise InputError(f"no trained run of profile {profile!r} in {paths.runs()}: run it first")
    return published
