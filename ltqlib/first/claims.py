"""Every claim of the post as tests on records, with a verdict that is committed and checked.

A claim is a few differences, each with a 95 % interval, that the claim says lie above zero.
The rule was fixed before any record was made:

* **reproduced**: every interval lies above zero;
* **not reproduced**: some interval lies below zero (the opposite was found);
* **inside the noise**: neither; at least one interval holds zero;
* **not yet measured**: a record is missing.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import yaml
from scipy import stats

from ltqlib.first import evidence, metrics, paths
from ltqlib.first.crossed import Estimate
from ltqlib.first.errors import InputError
from ltqlib.first.evidence import Outcomes, Replicates

VERDICTS = ("reproduced", "not reproduced", "inside the noise", "not yet measured")
SCHEME = "w-tensor"  # the primary scheme: weights only, one symmetric min-max grid a tensor
SEVERE = 0.01
BUDGET = 5.0  # average weight bits of the mixed-precision claims
MARGIN = 1.0  # points of overall accuracy that count as negligible
RESAMPLES = 400

Interval = tuple[float, float, float]  # difference, low, high
Grid = dict[float, Replicates]  # by imbalance factor


@dataclass(frozen=True)
class Difference:
    """One difference that the claim says is above zero, in ``unit``."""

    name: str
    value: float
    low: float
    high: float
    unit: str = "points"


@dataclass(frozen=True)
class Claim:
    """A sentence of the post, where the book treats it, and the test of it."""

    key: str
    sentence: str
    section: str
    page: str
    test: Callable[[Grid], Iterator[Difference]]


@dataclass(frozen=True)
class Result:
    """A claim with what was found."""

    claim: Claim
    verdict: str
    tests: tuple[Difference, ...]


def decide(tests: tuple[Difference, ...]) -> str:
    """The verdict on intervals, by the rule of this module."""
    if not tests:
        return "not yet measured"
    if all(test.low > 0 for test in tests):
        return "reproduced"
    if any(test.high < 0 for test in tests):
        return "not reproduced"
    return "inside the noise"


def _tail_and_head(replicates: Replicates, outcomes: Outcomes) -> Estimate:
    """A change of the tail beyond the same change of the head."""
    groups = replicates.groups
    return replicates.estimate(outcomes, groups["tail"], groups["head"])


def _gap_widens(grid: Grid) -> Iterator[Difference]:
    for milder, stronger in ((0.1, 0.02), (0.02, 0.01)):
        a, b = evidence.in_common(grid[milder], grid[stronger])
        value = _tail_and_head(a, a.floating("baseline") - b.floating("baseline"))
        yield Difference(f"head-tail gap, IF {stronger} minus IF {milder}", *value[:3])


def _gain_of_crt(replicates: Replicates) -> Outcomes:
    return replicates.floating("crt") - replicates.floating("baseline")


def _decoupling_narrows(grid: Grid) -> Iterator[Difference]:
    for factor, replicates in grid.items():
        value = _tail_and_head(replicates, _gain_of_crt(replicates))
        yield Difference(f"gap closed by cRT, IF {factor}", *value[:3])


def _most_at_strongest(grid: Grid) -> Iterator[Difference]:
    mild, severe = evidence.in_common(grid[0.1], grid[SEVERE])
    value = _tail_and_head(severe, _gain_of_crt(severe) - _gain_of_crt(mild))
    yield Difference("gap closed at IF 0.01 minus at IF 0.1", *value[:3])


def _ten_points_remain(grid: Grid) -> Iterator[Difference]:
    gap, low, high = _tail_and_head(grid[SEVERE], -grid[SEVERE].floating("crt"))[:3]
    yield Difference("gap of cRT at IF 0.01, beyond 10", gap - 10, low - 10, high - 10)


def _fewer_bits_cost_tail(grid: Grid) -> Iterator[Difference]:
    replicates = grid[SEVERE].with_step("ptq")
    for method in ("baseline", "crt"):
        for bits in (6, 4):
            value = _tail_and_head(replicates, replicates.lost(method, SCHEME, bits))
            name = evidence.METHODS[method]
            yield Difference(f"{name}, {bits} bits: tail loss beyond head loss", *value[:3])


def _decoupled_lose_less(grid: Grid) -> Iterator[Difference]:
    replicates = grid[SEVERE].with_step("ptq")
    for bits in (6, 4):
        extra = replicates.lost("baseline", SCHEME, bits)
        extra -= replicates.lost("crt", SCHEME, bits)
        value = replicates.estimate(extra, replicates.groups["tail"])
        name = f"tail loss of the baseline beyond that of cRT, {bits} bits"
        yield Difference(name, *value[:3])


def _tail_driven_helps(grid: Grid) -> Iterator[Difference]:
    replicates = grid[SEVERE].with_step("mpq")
    change = replicates.mixed("tail", BUDGET) - replicates.mixed("norm", BUDGET)
    gain = replicates.estimate(change, replicates.groups["tail"])
    yield Difference("tail accuracy, tail-driven minus norm-driven", *gain[:3])
    overall = replicates.estimate(change, replicates.groups["norm"])
    value, low, high = (x + MARGIN for x in overall[:3])
    name = f"overall accuracy, the same, beyond a loss of {MARGIN:g}"
    yield Difference(name, value, low, high)


def _ranks_differ(grid: Grid) -> Iterator[Difference]:
    value, low, high = rank_disagreement(grid[SEVERE].with_step("sensitivity"), bits=4)
    name = "rank correlation within a driver minus between drivers"
    yield Difference(name, value, low, high, unit="Spearman")


def rank_disagreement(replicates: Replicates, bits: int, resamples: int = RESAMPLES) -> Interval:
    """Do overall and tail accuracy rank the layers differently, beyond the noise of a ranking?

    On two halves a, b of the test images: the mean of rho(norm_a, norm_b) and rho(tail_a, tail_b)
    less the mean of rho(norm_a, tail_b) and rho(tail_a, norm_b), rho Spearman's, averaged over
    seeds. The value is the mean over random stratified halves of bootstrap samples of the images;
    the interval adds their variance to that of the mean over seeds (Student t).
    """
    first = replicates.first
    outcomes = np.stack(
        [[p == run.labels for p in run.one_layer(bits).values()] for run in replicates.runs]
    ).astype(np.float32)
    members = [np.flatnonzero(first.labels == label) for label in range(len(first.classes))]
    generator = np.random.default_rng(0)
    values = np.array(
        [
            _disagreements(_scores_on_halves(outcomes, members, generator), first.groups["tail"])
            for _ in range(resamples)
        ]
    )  # (resamples, seeds)
    variance, seeds = values.mean(1).var(ddof=1), values.shape[1]
    reach = float(stats.norm.ppf(0.975)) * np.sqrt(variance)
    if seeds > 1:
        variance += values.mean(0).var(ddof=1) / seeds
        reach = float(stats.t.ppf(0.975, seeds - 1)) * np.sqrt(variance)
    value = float(values.mean())
    return value, value - float(reach), value + float(reach)


def _scores_on_halves(
    outcomes: np.ndarray, members: Sequence[np.ndarray], generator: np.random.Generator
) -> list[np.ndarray]:
    """Accuracy by seed, layer and class on both halves of one bootstrap sample of the images."""
    halves: list[list[np.ndarray]] = [[], []]
    for mine in members:
        drawn = np.bincount(generator.integers(0, len(mine), len(mine)), minlength=len(mine))
        # an image drawn twice stays in one half: halves must not share images
        side = generator.permutation(len(mine)) < len(mine) // 2
        for half, kept in zip(halves, (drawn * side, drawn * ~side), strict=True):
            half.append(outcomes[..., mine] @ kept.astype(np.float32) / kept.sum())
    return [np.stack(half, axis=-1) for half in halves]


def _disagreements(halves: Sequence[np.ndarray], tail: Sequence[int]) -> list[float]:
    """The difference of rank correlations for each seed; (seeds, layers, classes) on each half."""
    found = []
    for a, b in zip(*halves, strict=True):
        norm, rare = (a.mean(1), b.mean(1)), (a[:, tail].mean(1), b[:, tail].mean(1))
        within = metrics.spearman(*norm) + metrics.spearman(*rare)
        between = metrics.spearman(norm[0], rare[1]) + metrics.spearman(rare[0], norm[1])
        found.append((within - between) / 2)
    return found


CLAIMS = (
    Claim(
        "gap-widens",
        "The head-tail gap widens as imbalance grows, and overall accuracy hides it.",
        "3.1",
        "evaluation",
        _gap_widens,
    ),
    Claim(
        "decoupling-narrows",
        "Decoupled training narrows the head-tail gap.",
        "3.2",
        "training",
        _decoupling_narrows,
    ),
    Claim(
        "most-at-strongest",
        "Decoupling helps most at the strongest imbalance.",
        "3.2",
        "training",
        _most_at_strongest,
    ),
    Claim(
        "ten-points-remain",
        'At IF 0.01 a gap "above 10 points" remains after decoupling.',
        "3.2",
        "training",
        _ten_points_remain,
    ),
    Claim(
        "fewer-bits-cost-tail",
        "Fewer bits cost the tail more than the head.",
        "3.3",
        "quantized",
        _fewer_bits_cost_tail,
    ),
    Claim(
        "decoupled-lose-less",
        "Decoupled models lose less tail accuracy to quantization than baselines.",
        "3.3",
        "quantized",
        _decoupled_lose_less,
    ),
    Claim(
        "tail-driven-helps",
        "Tail-driven mixed precision raises tail accuracy at negligible overall cost.",
        "3.4",
        "mpq",
        _tail_driven_helps,
    ),
    Claim(
        "ranks-differ",
        "Layer sensitivity ranks differ between overall and tail accuracy.",
        "3.4",
        "mpq",
        _ranks_differ,
    ),
)


def evaluate(profile: str = "laptop", page: str = "") -> list[Result]:
    """Every claim (of one page) with its verdict, from records that exist; computes nothing."""
    grid = evidence.open_grid(profile)
    results = []
    for claim in CLAIMS:
        if page in ("", claim.page):
            tests = tuple(claim.test(grid)) if _measured(grid) else ()
            results.append(Result(claim, decide(tests), tests))
    return results


def _measured(grid: Grid) -> bool:
    """Whether the records that the claims need are published or cached."""
    trained = all(replicates.first.has("decouple") for replicates in grid.values())
    steps = ("ptq", "sensitivity", "mpq")
    return trained and all(grid[SEVERE].first.has(step) for step in steps)


def committed() -> dict[str, str]:
    """The verdicts that the book was written with (book/claims.yml).

    Raises:
        InputError: the file is missing or names an unknown claim or verdict.
    """
    path = paths.book("claims.yml")
    try:
        verdicts = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing: it holds the committed verdicts") from error
    keys = {claim.key for claim in CLAIMS}
    for key, verdict in verdicts.items():
        if key not in keys or verdict not in VERDICTS:
            raise InputError(f"{path}: {key}: {verdict} is not a claim with a verdict")
    return verdicts


def disagreements(results: list[Result]) -> list[str]:
    """One line for each claim whose verdict is not the committed one."""
    before = committed()
    return [
        f"{r.claim.key}: committed {before.get(r.claim.key, 'nothing')!r}, found {r.verdict!r}"
        for r in results
        if before.get(r.claim.key) != r.verdict
    ]


def ledger(results: list[Result]) -> pd.DataFrame:
    """One row a test: claim, section, what was measured, value, interval, verdict."""
    rows = []
    for result in results:
        claim = result.claim
        for test in result.tests or (Difference("no record yet", np.nan, np.nan, np.nan),):
            interval = (test.value, test.low, test.high, test.unit)
            rows.append((claim.key, claim.section, test.name, *interval, result.verdict))
    columns = ["claim", "section", "measured", "value", "low", "high", "unit", "verdict"]
    return pd.DataFrame(rows, columns=columns)
