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


def _drop(post: Post, model: str, group: str) -> float:
    return post["drops_32_to_6"][model][group]


def _nothing(post: Post) -> None:
    """The post has no number for this."""


# claim -> those of its tests that stand for it, and what the post's own numbers give for each
SHOWN: dict[str, dict[int, Callable[[Post], float | None]]] = {
    "gap-widens": {
        1: lambda post: (
            _gap(post["table1"]["baseline"][0.01]) - _gap(post["table1"]["baseline"][0.02])
        )
    },
    "decoupling-narrows": {2: lambda post: _closed(post, 0.01)},
    "most-at-strongest": {0: lambda post: _closed(post, 0.01) - _closed(post, 0.1)},
    "ten-points-remain": {0: lambda post: _gap(post["table1"]["decoupling"][0.01]) - 10},
    "fewer-bits-cost-tail": {
        0: lambda post: _drop(post, "baseline", "tail") - _drop(post, "baseline", "head"),
        1: _nothing,
    },
    "decoupled-lose-less": {
        0: lambda post: _drop(post, "baseline", "tail") - _drop(post, "decoupling", "tail"),
        1: _nothing,
    },
    "tail-driven-helps": {0: _nothing},
    "ranks-differ": {0: _nothing},
}


def claims_table(results: Sequence[Result]) -> pd.DataFrame:
    """A row for each shown test of a claim: what was measured, here and in the post.

    The index has the sentence of the claim, the verdict on all its tests, and what was measured.
    """
    post, rows = reported(), []
    for result in results:
        for number, theirs in SHOWN[result.claim.key].items():
            test, value = result.tests[number], theirs(post)
            digits = 2 if test.unit == "Spearman" else 1
            rows.append(
                {
                    "claim of the post": result.claim.sentence,
                    "verdict": result.verdict,
                    "measured": test.name,
                    "here": cell(test.value, test.low, test.high, digits),
                    "the post": "" if value is None else cell(value, float("nan"), float("nan")),
                }
            )
    return pd.DataFrame(rows).set_index(["claim of the post", "verdict", "measured"])


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
