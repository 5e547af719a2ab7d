"""JSON records: one object a file, with a checksum, whole or not there."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from ltqlib.errors import InputError
from ltqlib.files import write_whole

SCHEMA = 2
Record = dict[str, Any]


def checksum(record: Record) -> str:
    """SHA-256 of the canonical JSON of ``record`` without its own checksum."""
    body = {key: value for key, value in record.items() if key != "checksum"}
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def write_record(path: Path, record: Record) -> Record:
    """Add schema and checksum and write ``record``; returns what was written.

    Raises:
        InputError: the disk is full or cannot be written; nothing is left behind.
    """
    # through JSON and back: what is returned and hashed is what a later reader sees, to the type
    record = json.loads(json.dumps({**record, "schema": SCHEMA}, allow_nan=False))
    record["checksum"] = checksum(record)
    write_whole(path, _text(record).encode())
    return record


def _text(record: Record) -> str:
    """Indented JSON in which what holds no other object or list, such as a column, is one line."""
    # text in JSON has no line breaks of its own, so only indentation goes
    innermost = re.compile(r"[\[{][^\[\]{}]*[\]}]")
    lines = innermost.sub(lambda one: _one_line(one[0]), json.dumps(record, indent=1))
    return lines + "\n"


def _one_line(text: str) -> str:
    return re.sub(r"\n *", "", re.sub(r",\n *", ", ", text))


def read_record(path: Path) -> Record:
    """Read and verify a record.

    Raises:
        InputError: missing, truncated, altered, or of another schema.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist: train the network first") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:  # ValueError: bad bytes as well
        raise InputError(f"{path} is truncated or not JSON: delete it, run again") from error
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        raise InputError(f"{path} is not a record of schema {SCHEMA}: delete it, run again")
    if record.get("checksum") != _checksum_or_none(record):
        raise InputError(f"{path} is altered (its checksum differs): delete it, run again")
    return record


def _checksum_or_none(record: Record) -> str | None:
    try:
        return checksum(record)
    except ValueError:  # damage made a number infinite
        return None
