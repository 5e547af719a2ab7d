"""The README shows the front page's figure and table, from the evidence that is published."""

import os
from pathlib import Path

import pytest
from PIL import Image

from ltqlib.paper import readme

ROOT = Path(__file__).parent.parent.parent
published = pytest.mark.skipif("LTQ_HOME" in os.environ, reason="another project folder is set")


@published
def test_figure_and_table_are_those_of_the_evidence() -> None:
    (shown,) = readme.BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    assert shown == readme.block(), "run: python -m ltqlib.paper.readme"
    with Image.open(ROOT / readme.FIGURE) as image:
        assert f"![{image.info['Description']}]" in shown
        assert image.width > 1_000
