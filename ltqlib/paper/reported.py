"""What the post reports: the only literal results in the project (book/reported.yml)."""

from typing import Any

import yaml

from ltqlib import paths


def reported() -> dict[str, Any]:
    """The post's tables and charts, in percent."""
    return yaml.safe_load(paths.book("reported.yml").read_text(encoding="utf-8"))
