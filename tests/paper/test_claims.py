"""The rule that decides, planted truths under it, and the published results."""

from pathlib import Path
from typing import Any

import pytest
import xarray as xr
from planted import made_up

import ltqlib as ltq
from ltqlib.errors import InputError
from ltqlib.paper import claims, overview
from ltqlib.paper.claims import Claim, Difference, Experiment, decide

ROOT = Path(__file__).parent.parent.parent
BY_KEY = {claim.key: claim for claim in claims.CLAIMS}


@pytest.mark.parametrize(
    ("intervals", "verdict"),
    [
        ([(1, 0.5, 1.5), (2, 0.1, 4)], "reproduced"),
        ([(1, 0.5, 1.5), (2, -0.1, 4)], "inside the noise"),
        ([(1, 0.0, 1.5)], "inside the noise"),
        ([(-1, -2, -0.5), (2, 1, 3)], "not reproduced"),
        ([(-1, -2, -0.5), (0, -1, 1)], "not reproduced"),
        ([], "not yet measured"),
    ],
    ids=["all-above", "one-holds-zero", "touches-zero", "one-below", "below-and-noise", "none"],
)
def test_verdict_rule(intervals: list[tuple[float, float, float]], verdict: str) -> None:
    assert decide([Difference("x", *interval) for interval in intervals]) == verdict


class PlantedExperiment(Experiment):
    """Outcomes with known accuracies instead of networks."""

    def __init__(self, head: float, tail: float, narrowed: float, lost: float) -> None:
        super().__init__()
        object.__setattr__(self, "planted", (head, tail, narrowed, lost))

    def right(self, factor: float, bits: Any = (32,)) -> xr.DataArray:
        """The tail has ``tail`` at factor 1 and less below; cRT gives back, bits take away."""
        head, tail, narrowed, lost = self.planted  # type: ignore[attr-defined]
        steps = {0.1: 1, 0.02: 2, 0.01: 3}[factor]

        def accuracy(model: int, width: int) -> tuple[float, float]:
            off = {32: 0, 6: 1, 4: 2}[width] * lost
            back = narrowed * steps * model
            return head, tail - 0.15 * steps + back - off * (1 if model else 1.5)

        return made_up(accuracy, ("baseline", "crt"), tuple(bits)).right


PLANTED = PlantedExperiment(0.9, 0.8, 0.05, 0.1)
NOTHING = PlantedExperiment(0.9, 0.8, 0.0, 0.0)


@pytest.mark.parametrize(
    "key",
    [
        "gap-widens",
        "decoupling-narrows",
        "most-at-strongest",
        "ten-points-remain",
        "fewer-bits-cost-tail",
    ],
)
def test_planted_truths_are_reproduced(key: str) -> None:
    tests = list(BY_KEY[key].test(PLANTED))
    assert all(test.value > 0 for test in tests), tests
    assert decide(tests) == "reproduced"


@pytest.mark.parametrize("key", ["most-at-strongest", "fewer-bits-cost-tail"])
def test_what_is_not_there_is_not_reproduced(key: str) -> None:
    assert decide(list(BY_KEY[key].test(NOTHING))) != "reproduced"


def test_decoupled_networks_that_lose_less_are_seen() -> None:
    tests = list(BY_KEY["decoupled-lose-less"].test(PLANTED))
    assert [test.value > 0 for test in tests] == [True, True]


def test_the_opposite_is_not_reproduced() -> None:
    wider = PlantedExperiment(0.9, 0.8, -0.05, 0.0)
    assert decide(list(BY_KEY["decoupling-narrows"].test(wider))) == "not reproduced"


def test_published_verdicts_are_the_committed_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    if not (ROOT / "results" / "registry.txt").exists():
        pytest.skip("nothing is published yet")
    monkeypatch.setenv("LTQ_HOME", str(ROOT))
    monkeypatch.delenv("LTQ_FRESH", raising=False)
    results = claims.evaluate_claims()
    assert claims.disagreements(results) == []
    table = overview.ledger(results)
    assert set(table["claim"]) == set(BY_KEY)
    assert ((table["low"] <= table["value"]) & (table["value"] <= table["high"])).all()


def test_disagreements_name_the_claim_and_both_verdicts(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim: Claim = BY_KEY["gap-widens"]
    (home / "book").mkdir()
    (home / "book" / "claims.yml").write_text("gap-widens: reproduced\n")
    result = claims.Result(claim, "inside the noise", ())
    told = "gap-widens: committed 'reproduced', found 'inside the noise'"
    assert claims.disagreements([result]) == [told]
    assert overview.ledger([result])["value"].isna().all()
    (home / "book" / "claims.yml").write_text("gap-widens: perhaps\n")
    with pytest.raises(InputError, match="not a claim with a verdict"):
        claims.committed()
    (home / "book" / "claims.yml").unlink()
    with pytest.raises(InputError, match="is missing"):
        claims.committed()


def test_mixed_precision_judges_on_the_half_that_did_not_choose(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = made_up(lambda m, b: (0.9, 0.6), ("crt",), (32, 6, 4)).isel(model=0, drop=True)
    seen = []

    def part(half: str) -> xr.Dataset:
        return whole.isel(image=(whole["half"] == half).values)

    class Networks:
        class data:
            class test:
                @staticmethod
                def halves() -> tuple[str, str]:
                    return "choose", "judge"

    def evaluate(networks: object, on: str, widths: dict[str, object]) -> xr.Dataset:
        seen.append((on, *widths.values()))
        found = part(on).rename(bits="configuration")
        return found.assign_coords(configuration=list(widths))

    monkeypatch.setattr(ltq, "sensitivity", lambda n, on, bits: on, raising=False)
    monkeypatch.setattr(ltq, "allocate", lambda alone, **how: f"from {alone}", raising=False)
    monkeypatch.setattr(ltq, "evaluate", evaluate, raising=False)
    right = claims.mixed_precision(Networks(), ("norm", "tail"))  # type: ignore[arg-type]
    assert seen == [("judge", 32, *["from choose"] * 2), ("choose", 32, *["from judge"] * 2)]
    assert right.sizes["image"] == whole.sizes["image"]
