"""From runs/ (working, ignored by git) to results/ and checkpoints/ (published, in git)."""

import hashlib
from pathlib import Path

from ltqlib.first import experiment, paths, records
from ltqlib.first.errors import InputError
from ltqlib.first.files import write_whole
from ltqlib.first.records import Record

WEIGHTS = {"model.safetensors": "train", "heads.safetensors": "decouple"}  # file -> its step
LIMIT = 50_000_000  # bytes of checkpoints in git; what is beyond it is made again by training


def publish(profile: str, weights: bool = False) -> dict[str, list[str]]:
    """Copy the verified records of a profile into results/; returns the steps by digest.

    A run counts once its models are trained and tested (step ``decouple``), here or in what is
    published already; a record that was made with other options than the library now has is left
    out. With ``weights`` the checkpoints are
    copied as well, rarest classes first and as many as fit, and ``checkpoints/registry.txt`` is
    written anew.

    Raises:
        InputError: no such run of the profile, or a damaged record or checkpoint.
    """
    folders = sorted({path.parent.name for path in paths.runs().glob("*/*.json")})
    runs = {digest: found for digest in folders if (found := _usable(digest, profile))}
    trained = [digest for digest, found in runs.items() if "decouple" in found]
    runs = {digest: runs[digest] for digest in runs if digest in trained or _published(digest)}
    if not runs:
        raise InputError(f"no trained run of profile {profile!r} in {paths.runs()}: run it first")
    if weights:
        for digest in sorted(trained, key=lambda digest: _rarest_first(runs[digest])):
            _publish_weights(digest, {name: record for name, (_, record) in runs[digest].items()})
        write_whole(paths.checkpoints("registry.txt"), registry().encode())
    for digest, steps in runs.items():
        for path, _ in steps.values():
            write_whole(paths.results(digest) / path.name, path.read_bytes())
    return {digest: list(steps) for digest, steps in runs.items()}


def _published(digest: str) -> bool:
    """Whether the models of a run are in results/, so that what is in runs/ adds to them."""
    return (paths.results(digest) / "decouple.json").exists()


def _rarest_first(found: dict[str, tuple[Path, Record]]) -> tuple[float, int]:
    """The order in which runs get their share of LIMIT: by imbalance factor, then by seed."""
    config = found["data"][1]["config"]
    return config["imbalance_factor"], config["seed"]


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
    """Copy the weights of a run, after checking that they are those of its records.

    Nothing is copied where all checkpoints together would exceed LIMIT.
    """
    contents = {}
    for name, step in WEIGHTS.items():
        path = paths.runs(digest) / name
        contents[name] = path.read_bytes() if path.exists() else b""
        if hashlib.sha256(contents[name]).hexdigest() != found[step]["payload"]["checkpoint"]:
            raise InputError(f"{path} is missing or is not that of its record: run {digest} again")
    others = [p for p in paths.checkpoints().glob("*/*.safetensors") if p.parent.name != digest]
    if sum(path.stat().st_size for path in others) + sum(map(len, contents.values())) > LIMIT:
        return
    for name, content in contents.items():
        write_whole(paths.checkpoints(digest) / name, content)


def registry() -> str:
    """``<file> sha256:<digest>``, a line a published checkpoint: a registry as pooch reads it."""
    folder = paths.checkpoints()
    return "".join(
        f"{path.relative_to(folder).as_posix()} "
        f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"
        for path in sorted(folder.glob("*/*.safetensors"))
    )
