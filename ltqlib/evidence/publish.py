"""From ``runs/`` (working, ignored by git) to ``results/`` and ``checkpoints/`` (published).

What is published is whole, verified, and listed with its SHA-256 in a ``registry.txt`` as pooch
reads it; :mod:`ltqlib.evidence.store` compares on reading.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ltqlib import paths
from ltqlib.errors import InputError, disk_errors
from ltqlib.evidence import store
from ltqlib.evidence.arrays import SUFFIX, read_dataset
from ltqlib.evidence.records import Record, read_record
from ltqlib.files import remove, write_whole

MOST_RESULTS = 25_000_000  # bytes of evaluations in git
MOST_WEIGHTS = 50_000_000  # bytes of checkpoints in git; what is beyond is made again by training
REGISTRY = "registry.txt"


@dataclass
class Published:
    """What :func:`publish` did."""

    files: dict[str, list[str]]  # by network: its files in results/ that are new or changed
    weights: list[str] = field(default_factory=list)  # networks whose checkpoints were copied
    left_out: list[str] = field(default_factory=list)  # those that would exceed MOST_WEIGHTS


@dataclass(frozen=True)
class _Network:
    """A complete network with what ``runs/`` has of it."""

    digest: str
    record: Record
    stage2: Record
    files: tuple[Path, ...]  # of runs/, verified
    trained_here: bool  # network.json is in runs/, and so are the weights

    @property
    def weights(self) -> dict[str, str]:
        """SHA-256 by file of its own, as its records have them."""
        model = {store.MODEL: self.record["training"]["weights"]}
        shared = store.FIRST_STAGE in self.record  # with the network that it names
        return ({} if shared else model) | {store.HEADS: self.stage2["weights"]}

    @property
    def rarity(self) -> tuple[float, int]:
        """Sorts by imbalance factor, then by seed; natural counts come last."""
        factor, seed = self.record["config"]["imbalance_factor"], self.record["config"]["seed"]
        return (2.0 if isinstance(factor, str) else factor), seed


def publish(profile: str | None = None, weights: bool = False) -> Published:
    """Copy complete networks and their evaluations from ``runs/`` to ``results/``.

    A network is complete when both of its stages are trained (``network.json``, ``stage2.json``),
    in ``runs/`` or published before. Every file is read and verified first; then the files are
    copied whole and ``results/registry.txt`` is written anew. Evaluations that were published with
    other weights of the same configuration are removed. One process publishes at a time; who reads
    meanwhile, or after a kill, finds every file in the registry.

    Args:
        profile: of the networks; None takes all.
        weights: copy the checkpoints as well, rarest classes first, as many as fit in 50 MB, and
            write ``checkpoints/registry.txt``.

    Raises:
        InputError: a damaged file, no complete network, or more than 25 MB of results; nothing
            has been written then.
    """
    networks = [found for digest in _working() if (found := _complete(digest, profile))]
    if not networks:
        what = f" of profile {profile!r}" if profile else ""
        raise InputError(f"{paths.runs()} has no complete network{what}: train and decouple one")
    with store.lock(""):
        kept = _kept({network.digest: network for network in networks})
        _check_size(kept, networks)
        if weights:
            for network in networks:
                _check_weights(network)
        _write_registry(paths.results(), _lines(networks))  # beside those of what is there
        done = Published({network.digest: _copy(network, kept) for network in networks})
        _write_registry(paths.results())
        if weights:
            _copy_weights(sorted(networks, key=lambda network: network.rarity), done)
    return done


def _working() -> list[str]:
    """Networks that ``runs/`` has something of."""
    found = [*paths.runs().glob(f"*/{store.NETWORK}"), *paths.runs().glob(f"*/*{SUFFIX}")]
    return sorted({path.parent.name for path in found})


def _complete(digest: str, profile: str | None) -> _Network | None:
    """A network of the profile, its files verified; None where a stage is not trained."""
    record, stage2 = (_record(digest, file) for file in (store.NETWORK, store.STAGE2))
    if record is None or stage2 is None or profile not in (None, record["config"]["profile"]):
        return None
    files = [paths.runs(digest) / file for file in (store.NETWORK, store.STAGE2)]
    files = [path for path in files if path.exists()]
    evaluations = sorted(paths.runs(digest).glob(f"*{SUFFIX}"))
    for path in evaluations:
        read_dataset(path)
    here = (paths.runs(digest) / store.NETWORK).exists()
    return _Network(digest, record, stage2, (*files, *evaluations), here)


def _record(digest: str, file: str) -> Record | None:
    """A verified record: the working one, else the published one."""
    for path in (paths.runs(digest) / file, paths.results(digest) / file):
        if path.exists():
            store.verify_published(path)
            return read_record(path)
    return None


def _kept(networks: dict[str, _Network]) -> set[Path]:
    """Published files that stay: verified, and not of other weights than the network has now.

    Raises:
        InputError: a published file is damaged.
    """
    kept = set()
    for path in paths.results().glob("*/*"):
        if not _is_stored(path):
            continue
        network = networks.get(path.parent.name)
        if network is not None and network.trained_here and _other_weights(network):
            continue
        if path.relative_to(paths.results()).as_posix() in store.registry(paths.results()):
            store.verify_published(path)
        else:  # put there by hand
            read_dataset(path) if path.name.endswith(SUFFIX) else read_record(path)
        kept.add(path)
    return kept


def _is_stored(path: Path) -> bool:
    return path.name in (store.NETWORK, store.STAGE2) or path.name.endswith(SUFFIX)


def _is_published(path: Path) -> bool:
    return _is_stored(path) or path.suffix == ".safetensors"


def _other_weights(network: _Network) -> bool:
    """Whether what is published of a network was made with other weights."""
    path = paths.results(network.digest) / store.NETWORK
    if not path.exists():
        return False
    training: dict[str, Any] = read_record(path)["training"]
    return training["weights"] != network.record["training"]["weights"]


def _check_size(kept: set[Path], networks: Iterable[_Network]) -> None:
    sizes = {path: path.stat().st_size for path in kept}
    for network in networks:
        for path in network.files:
            sizes[paths.results(network.digest) / path.name] = path.stat().st_size
    if (total := sum(sizes.values())) > MOST_RESULTS:
        raise InputError(
            f"{paths.results()} would have {total / 1e6:.1f} MB, at most {MOST_RESULTS / 1e6:g} MB "
            "are published: give --profile, or delete evaluations from runs/ that no page reads"
        )


def _copy(network: _Network, kept: set[Path]) -> list[str]:
    """Copy what is new or changed; remove what is published and not kept."""
    changed, folder = [], paths.results(network.digest)
    names = {path.name for path in network.files}
    for path in folder.glob("*"):
        if _is_stored(path) and path not in kept and path.name not in names:
            remove(path)
    for path in network.files:
        if _write_changed(folder / path.name, path.read_bytes()):
            changed.append(path.name)
    return changed


def _write_changed(path: Path, content: bytes) -> bool:
    """Write a file where it has other content, so that file times of the others stay."""
    if path.exists() and path.read_bytes() == content:
        return False
    write_whole(path, content)
    return True


def _check_weights(network: _Network) -> None:
    """Refuse weights that are not those of the records; published ones alone are not asked for."""
    for name, told in network.weights.items():
        path = paths.runs(network.digest) / name
        if not path.exists() and not network.trained_here:
            continue
        if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != told:
            raise InputError(
                f"{path} is missing or is not that of its record: delete runs/{network.digest}"
                " and train it again"
            )


def _copy_weights(networks: Iterable[_Network], done: Published) -> None:
    """Copy checkpoints in the given order, each network's only where all fit into MOST_WEIGHTS."""
    for network in networks:
        files = [paths.runs(network.digest) / name for name in network.weights]
        if not all(path.exists() for path in files):
            continue
        others = paths.checkpoints().glob("*/*.safetensors")
        taken = sum(p.stat().st_size for p in others if p.parent.name != network.digest)
        if taken + sum(path.stat().st_size for path in files) > MOST_WEIGHTS:
            done.left_out.append(network.digest)
            continue
        target = paths.checkpoints(network.digest)
        if sum([_write_changed(target / path.name, path.read_bytes()) for path in files]):
            done.weights.append(network.digest)
    _write_registry(paths.checkpoints())


def _lines(networks: Iterable[_Network]) -> Iterator[str]:
    """The registry's lines of what will be copied."""
    for network in networks:
        for path in network.files:
            yield _line(f"{network.digest}/{path.name}", path)


def _line(name: str, path: Path) -> str:
    return f"{name} sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


def _write_registry(folder: Path, coming: Iterable[str] = ()) -> None:
    """``FILE sha256:DIGEST``, a line a published file, sorted; and the lines of what is coming."""
    published = [path for path in folder.glob("*/*") if _is_published(path)]
    there = {_line(path.relative_to(folder).as_posix(), path) for path in published}
    with disk_errors(folder):
        _write_changed(folder / REGISTRY, "".join(sorted(there.union(coming))).encode())
