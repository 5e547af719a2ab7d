"""``ltq show``: list the networks, or what is stored of one."""

import argparse
import json
from typing import Any

from ltqlib.config import PROFILES, RunConfig, from_dict
from ltqlib.errors import InputError
from ltqlib.evidence import store

SHOWN = ("profile", "data", "arch", "width", "imbalance_factor", "class_order", "seed")


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``ltq show``."""
    parser.add_argument("digest", nargs="?", help="a network, or the beginning of its digest")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")


def main(options: argparse.Namespace) -> int:
    """List all networks by configuration and seed, or the files of one."""
    if options.digest:
        return _show_one(options.digest, options.json)
    rows = sorted((_row(digest) for digest in store.digests()), key=_order)
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


def _row(digest: str) -> dict[str, Any]:
    record = store.find_record(digest)
    assert record is not None
    return {"digest": digest, "config": record["config"], "files": _stored(digest)}


def _order(row: dict[str, Any]) -> tuple[str, int]:
    """By configuration, the milder imbalance first, then by seed."""
    config = dict(row["config"])
    seed, factor = config.pop("seed"), config["imbalance_factor"]
    rank = 0.0 if isinstance(factor, str) else 1 - factor
    return json.dumps([config["profile"], config["data"], rank, config], sort_keys=True), seed


def _heading(config: RunConfig) -> str:
    """What a configuration is, without its seed."""
    label = config.label().replace(f" seed {config.seed}", "")
    usual = PROFILES.get(config.profile, {})
    defaults = {name: getattr(RunConfig("smoke", "digits"), name) for name in config.public()}
    other = [
        f"{name} {value}"
        for name, value in config.public().items()
        if name not in SHOWN and value != usual.get(name, defaults[name])
    ]
    return ", ".join([label, config.data, *other])


def _stored(digest: str) -> dict[str, str]:
    """``{file: "published" or "working"}``: the copy that is read."""
    from ltqlib import paths

    names = {
        path.name for folder in (paths.runs, paths.results) for path in folder(digest).glob("*")
    }
    found = {}
    for name in sorted(names):
        if name in (store.NETWORK, store.STAGE2) or name.endswith(".nc"):
            for path in store.places(digest, name)[:1]:
                found[name] = "published" if paths.results() in path.parents else "working"
    return found


def _files(files: dict[str, str]) -> str:
    """What is stored, in words."""
    place = "published" if files[store.NETWORK] == "published" else "working  "
    stage2 = "two stages" if store.STAGE2 in files else "one stage "
    count = sum(name.endswith(".nc") for name in files)
    return f"{place}  {stage2}  {count} evaluation{'s' * (count != 1)}"


def _show_one(start: str, as_json: bool) -> int:
    matches = [digest for digest in store.digests() if digest.startswith(start)]
    if len(matches) != 1:
        raise InputError(f"{start!r} names {len(matches)} networks: `ltq show` lists the digests")
    told = _told(matches[0])
    if as_json:
        print(json.dumps(told))
        return 0
    config = from_dict(told["network"]["config"])
    print(f"{matches[0]}  {config.label()}")
    for file in told["files"]:
        when = f"{file['seconds']:8.1f} s  {file['created']}  commit {str(file['commit'])[:10]}"
        dirty = " (dirty)" if file["dirty"] in (True, "true") else ""
        print(f"  {file['place']:9}  {when}{dirty}  {file['what']}")
    print(json.dumps(config.public(), indent=1))
    return 0


def _told(digest: str) -> dict[str, Any]:
    """The records of a network, and where each of its files comes from."""
    files = []
    for name, place in _stored(digest).items():
        if name.endswith(".nc"):
            function, _, key = name.removesuffix(".nc").rpartition("-")
            found = store.recall(digest, function, key)
            assert found is not None
            told, what = found.attrs, _described(found)
        else:
            record = store.find_record(digest, name)
            assert record is not None
            told, what = record["provenance"], "stage 1" if name == store.NETWORK else "stage 2"
        origin = {key: told.get(key) for key in ("seconds", "created", "commit", "dirty")}
        files.append({"file": name, "place": place, "what": what, **origin})
    records = {
        "network": store.find_record(digest),
        "stage2": store.find_record(digest, store.STAGE2),
    }
    return {"digest": digest, **records, "files": files}


def _described(found: Any) -> str:
    """What was evaluated: function, classifier, method, images, number of configurations."""
    words = [found.attrs.get(key, "") for key in ("function", "classifier", "method", "images")]
    if "configuration" in found.sizes:
        count = found.sizes["configuration"]
        words.append(f"{count} configuration{'s' * (count != 1)}")
    return ", ".join(str(word) for word in words if word)
