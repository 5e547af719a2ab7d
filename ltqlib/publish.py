"""From runs/ (working, ignored by git) to results/ and checkpoints/ (published, in git)."""

import hashlib
from pathlib import Path

from ltqlib import experiment, paths, records
from ltqlib.errors import InputError
from ltqlib.files import write_whole
from ltqlib.records import Record

WEIGHTS = {"model.safetensors": "train", "heads.safetensors": "decouple"}  # file -> its step


def publish(profile: str, weights: bool = False) -> dict[str, list[str]]:
    """Copy the verified records of a profile into results/; returns the steps by digest.

    A run counts once its models are trained and tested (step ``decouple``); a record that was made
    with other options than the library now has is left out. With ``weights`` the checkpoints are
    copied as well, and ``checkpoints/registry.txt`` is written anew.

    Raises:
        InputError: no such run of the profile, or a damaged record or checkpoint.
    """
    published: dict[str, list[str]] = {}
    for digest in records.digests(paths.runs()):
        found = _usable(digest, profile)
        if "decouple" not in found:
            continue
        if weights:
            _publish_weights(digest, {name: record for name, (_, record) in found.items()})
        for path, _ in found.values():
            write_whole(paths.results(digest) / path.name, path.read_bytes())
        published[digest] = list(found)
    if not published:
        raise InputError(f"no trained run of profile {profile!r} in {paths.runs()}: run it first")
    if weights:
        write_whole(paths.checkpoints("registry.txt"), registry().encode())
    return published


def _usable(digest: str, profile: str) -> dict[str, tuple[Path, Record]]:
    """Path and record of each step of a run that can be published."""
    found = {}
    for step in experiment.STEPS.values():
        path = paths.runs(digest) / f"{step.name}.json"
        if path.exists():
            record = records.read(path)
            if record["config"]["profile"] == profile and record["options"] == step.options:
                found[step.name] = (path, record)
    return found


def _publish_weights(digest: str, found: dict[str, Record]) -> None:
    """Copy the weights of a run, after checking that they are those of its records."""
    for name, step in WEIGHTS.items():
        path = paths.runs(digest) / name
        content = path.read_bytes() if path.exists() else b""
        if hashlib.sha256(content).hexdigest() != found[step]["payload"]["checkpoint"]:
            raise InputError(f"{path} is missing or is not that of its record: run {digest} again")
        write_whole(paths.checkpoints(digest) / name, content)


def registry() -> str:
    """``<file> sha256:<digest>``, a line a published checkpoint: a registry as pooch reads it."""
    folder = paths.checkpoints()
    return "".join(
        f"{path.relative_to(folder).as_posix()} "
        f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"
        for path in sorted(folder.glob("*/*.safetensors"))
    )
