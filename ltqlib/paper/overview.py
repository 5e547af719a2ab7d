"""The claims of the post in one table: what was measured here, what the post has, the verdict."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ltqlib.paper.claims import Difference, Result
from ltqlib.paper.reported import reported
from ltqlib.statistics.estimate import cell

Post = Mapping[str, Any]


def _gap(row: Sequence[float]) -> float:
    return row[1] - row[2]


def _closed(post: Post, factor: float) -> float:
    table = post["table1"]
    return _gap(table["baseline"][factor]) - _gap(table["decoupling"][factor])


# claim -> which of its tests stands for it, and what the post's own numbers give for that
SHOWN: dict[str, tuple[int, Callable[[Post], float | None]]] = {
    "gap-widens": (
        1,
        lambda post: (
            _gap(post["table1"]["baseline"][0.01]) - _gap(post["table1"]["baseline"][0.02])
        ),
    ),
    "decoupling-narrows": (2, lambda post: _closed(post, 0.01)),
    "most-at-strongest": (0, lambda post: _closed(post, 0.01) - _closed(post, 0.1)),
    "ten-points-remain": (0, lambda post: _gap(post["table1"]["decoupling"][0.01]) - 10),
    "fewer-bits-cost-tail": (
        0,
        lambda post: (
            post["drops_32_to_6"]["baseline"]["tail"] - post["drops_32_to_6"]["baseline"]["head"]
        ),
    ),
    "decoupled-lose-less": (
        0,
        lambda post: (
            post["drops_32_to_6"]["baseline"]["tail"] - post["drops_32_to_6"]["decoupling"]["tail"]
        ),
    ),
    "tail-driven-helps": (0, lambda post: None),
    "ranks-differ": (0, lambda post: None),
}


def claims_table(results: Sequence[Result]) -> pd.DataFrame:
    """One row a claim: its sentence, one of its tests here and in the post, the verdict."""
    post, rows = reported(), []
    for result in results:
        number, theirs = SHOWN[result.claim.key]
        test, value = result.tests[number], theirs(post)
        digits = 2 if test.unit == "Spearman" else 1
        rows.append(
            {
                "claim of the post": result.claim.sentence,
                "measured": test.name,
                "here": cell(test.value, test.low, test.high, digits),
                "the post": "" if value is None else cell(value, float("nan"), float("nan")),
                "verdict": result.verdict,
            }
        )
    return pd.DataFrame(rows).set_index("claim of the post")


def ledger(results: Sequence[Result]) -> pd.DataFrame:
    """One row a test: claim, section, what was measured, value, interval, verdict."""
    rows = []
    for result in results:
        claim = result.claim
        for test in result.tests or (Difference("no network yet", np.nan, np.nan, np.nan),):
            interval = (test.value, test.low, test.high, test.unit)
            rows.append((claim.key, claim.section, test.name, *interval, result.verdict))
    columns = ["claim", "section", "measured", "value", "low", "high", "unit", "verdict"]
    return pd.DataFrame(rows, columns=columns)
