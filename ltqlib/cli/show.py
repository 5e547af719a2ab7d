"""``ltq show``: list the networks, or what is stored of one."""

import argparse
import json
from typing import Any

from ltqlib.config import RunConfig, from_dict
from ltqlib.errors import InputError


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``ltq show``."""
    parser.add_argument("digest", nargs="?", help="a network, or the beginning of its digest")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")


def main(options: argparse.Namespace) -> int:
    """List all networks by configuration and seed, or the files of one."""
    from ltqlib.evidence import inventory  # and xarray, which takes a second

    if options.digest:
        return _show_one(options.digest, options.json)
    rows = sorted(inventory.networks(), key=_order)
    if options.json:
        print(json.dumps(rows))
        return 0
    heading = ""
    for row in rows:
        if heading != (heading := _heading(from_dict(row["config"]))):
            print(heading)
        print(f"  seed {row['config']['seed']}  {row['digest']}  {_files(row['files'])}")
    if not rows:
        print("no networks yet: `ltq run --profile smoke` makes one in a minute")
    return 0


def _order(row: dict[str, Any]) -> tuple[Any, ...]:
    """By configuration, the milder imbalance first, then by seed."""
    config = dict(row["config"])
    seed, factor = config.pop("seed"), config.pop("imbalance_factor")
    rank = 0.0 if isinstance(factor, str) else 1 - factor
    first = config.pop("profile"), config.pop("data"), config.pop("arch"), rank
    return (*first, *(config[name] for name in sorted(config)), seed)


def _heading(config: RunConfig) -> str:
    """What a configuration is, without its seed."""
    return f"{config.data}, {config.label().replace(f' seed {config.seed}', '')}"


def _files(files: dict[str, str]) -> str:
    """What is stored, in words."""
    place = f"{files['network.json']:9}"
    stages = "two stages" if "stage2.json" in files else "one stage "
    count = sum(not name.endswith(".json") for name in files)
    return f"{place}  {stages}  {count} evaluation{'s' * (count != 1)}"


def _show_one(start: str, as_json: bool) -> int:
    from ltqlib.evidence import inventory, store

    matches = [digest for digest in store.digests() if digest.startswith(start)]
    if len(matches) != 1:
        raise InputError(f"{start!r} names {len(matches)} networks: `ltq show` lists the digests")
    (digest,) = matches
    files, network = inventory.origins(digest), store.find_record(digest)
    assert network is not None
    if as_json:
        stage2 = store.find_record(digest, store.STAGE2)
        print(json.dumps({"digest": digest, "network": network, "stage2": stage2, "files": files}))
        return 0
    config = from_dict(network["config"])
    print(f"{digest}  {_heading(config)}, seed {config.seed}")
    for file in files:
        when = f"{file['seconds']:8.1f} s  {file['created']}  commit {str(file['commit'])[:10]}"
        print(f"  {file['place']:9}  {when}{' (dirty)' * file['dirty']}  {file['what']}")
    return 0
