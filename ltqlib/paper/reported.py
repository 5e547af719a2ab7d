"""Records that pages read: what the post reports, and what the scripts in benchmarks/ measured."""

import json
from typing import Any

import yaml

from ltqlib import paths


def reported() -> dict[str, Any]:
    """The post's tables and charts, in percent: the only literal results in the project."""
    return yaml.safe_load(paths.book("reported.yml").read_text(encoding="utf-8"))


def measured(name: str) -> Any:
    """What ``benchmarks/<name>.py`` wrote when it was run last."""
    return json.loads(paths.benchmarks(f"{name}.json").read_text(encoding="utf-8"))
