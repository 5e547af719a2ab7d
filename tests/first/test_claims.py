"""The rule that decides, and the published records under it."""

from types import SimpleNamespace

import numpy as np
import pytest

from ltqlib.first import claims, evidence, paths
from ltqlib.first.claims import Difference, decide


@pytest.mark.parametrize(
    ("intervals", "verdict"),
    [
        ([(1, 0.5, 1.5), (2, 0.1, 4)], "reproduced"),
        ([(1, 0.5, 1.5), (2, -0.1, 4)], "inside the noise"),
        ([(-1, -2, -0.5), (2, 1, 3)], "not reproduced"),
        ([], "not yet measured"),
    ],
    ids=["all-above", "one-holds-zero", "one-below", "no-records"],
)
def test_verdict_rule(intervals: list[tuple[float, float, float]], verdict: str) -> None:
    assert decide(tuple(Difference("x", *interval) for interval in intervals)) == verdict


def test_published_verdicts_are_the_committed_ones() -> None:
    assert claims.disagreements(claims.evaluate()) == []


def test_every_claim_has_a_page_and_a_sentence() -> None:
    for claim in claims.CLAIMS:
        assert paths.book(f"{claim.page}.md").exists()
        assert claim.sentence.endswith(".")


def test_without_records_nothing_is_measured(home: object) -> None:
    found = claims.evaluate("paper")
    assert {result.verdict for result in found} == {"not yet measured"}
    assert claims.ledger(found)["value"].isna().all()


class NoisyRun:
    """Sixteen layers with known sensitivity by class; enough of a Run for rank_disagreement."""

    def __init__(self, tail_differs: bool, seed: int = 0) -> None:
        generator = np.random.default_rng(seed)
        self.classes = list("abcdefghij")
        self.labels = np.repeat(np.arange(10), 400)
        self.groups = {"head": [0, 1, 2, 3], "tail": [4, 5, 6, 7, 8, 9]}
        tail = self.labels >= 4
        self._layers = {}
        for number in range(16):
            chance = np.full(len(self.labels), 0.95 - 0.02 * number)
            if tail_differs:
                chance[~tail] = 0.5 + 0.03 * number
            right = generator.random(len(chance)) < chance
            self._layers[f"L{number}"] = np.where(right, self.labels, (self.labels + 1) % 10)

    def one_layer(self, bits: int) -> dict[str, np.ndarray]:
        return self._layers


def noisy(tail_differs: bool, seeds: int) -> evidence.Replicates:
    runs = [NoisyRun(tail_differs, seed) for seed in range(seeds)]
    return SimpleNamespace(first=runs[0], runs=runs)  # type: ignore[return-value]


@pytest.mark.parametrize("seeds", [1, 3])
def test_rank_disagreement_finds_a_planted_one_and_no_other(seeds: int) -> None:
    _, low, _ = claims.rank_disagreement(noisy(True, seeds), 4, 60)
    assert low > 0
    value, low, high = claims.rank_disagreement(noisy(False, seeds), 4, 60)
    assert low <= 0.02
    assert abs(value) < 0.05
    assert high < 0.2


def test_reported_values_agree_with_their_own_arithmetic() -> None:
    """Norm is (4 head + 6 tail) / 10, to the rounding of the print, except where the post errs."""
    for by_factor in evidence.reported()["table1"].values():
        for norm, head, tail in by_factor.values():
            assert norm == pytest.approx((4 * head + 6 * tail) / 10, abs=0.11)
