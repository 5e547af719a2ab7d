"""Every claim of the post as tests on records, with a verdict that is committed and checked.

A claim is a few differences, each with a 95 % interval, that the claim says lie above zero.
The rule was fixed before any record was made:

* **reproduced**: every interval lies above zero;
* **not reproduced**: some interval lies below zero (the opposite was found);
* **inside the noise**: neither; at least one interval holds zero;
* **not yet measured**: a record is missing.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import yaml

from ltqlib import evidence, metrics, paths, records
from ltqlib.errors import InputError
from ltqlib.evidence import Run

VERDICTS = ("reproduced", "not reproduced", "inside the noise", "not yet measured")
SCHEME = "w-tensor"  # the primary scheme: weights only, one symmetric min-max grid a tensor
SEVERE = 0.01
BUDGET = 5.0  # average weight bits of the mixed-precision claims
MARGIN = 1.0  # points of overall accuracy that count as negligible
RESAMPLES = 400

Interval = tuple[float, float, float]  # difference, low, high
Grid = dict[float, Run]  # imbalance factor -> run


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


def _gap_widens(grid: Grid) -> Iterator[Difference]:
    for milder, stronger in ((0.1, 0.02), (0.02, 0.01)):
        a, b = grid[milder], grid[stronger]
        value = metrics.difference_of_differences(
            a.predictions("baseline"),
            b.predictions("baseline"),
            a.labels,
            a.groups["head"],
            a.groups["tail"],
        )
        yield Difference(f"head-tail gap, IF {stronger} minus IF {milder}", *value)


def _narrowing(run: Run) -> Interval:
    """How much cRT narrows the head-tail gap: change of the tail minus change of the head."""
    return metrics.difference_of_differences(
        run.predictions("baseline"),
        run.predictions("crt"),
        run.labels,
        run.groups["tail"],
        run.groups["head"],
    )


def _decoupling_narrows(grid: Grid) -> Iterator[Difference]:
    for factor, run in grid.items():
        yield Difference(f"gap closed by cRT, IF {factor}", *_narrowing(run))


def _most_at_strongest(grid: Grid) -> Iterator[Difference]:
    mild, severe = grid[0.1], grid[SEVERE]
    before = (mild.predictions("baseline"), severe.predictions("baseline"))
    after = (mild.predictions("crt"), severe.predictions("crt"))
    tail = metrics.interaction(before, after, mild.labels, mild.groups["tail"])
    head = metrics.interaction(before, after, mild.labels, mild.groups["head"])
    yield Difference("gap closed at IF 0.01 minus at IF 0.1", *metrics.subtract(tail, head))


def _ten_points_remain(grid: Grid) -> Iterator[Difference]:
    run = grid[SEVERE]
    gap, low, high = metrics.gap_interval(
        run.predictions("crt"), run.labels, run.groups["head"], run.groups["tail"]
    )
    yield Difference("gap of cRT at IF 0.01, beyond 10", gap - 10, low - 10, high - 10)


def _fewer_bits_cost_tail(grid: Grid) -> Iterator[Difference]:
    run = grid[SEVERE]
    for method in ("baseline", "crt"):
        for bits in (6, 4):
            value = metrics.difference_of_differences(
                run.predictions(method),
                run.quantized(method, SCHEME, bits),
                run.labels,
                run.groups["head"],
                run.groups["tail"],
            )
            name = evidence.METHODS[method]
            yield Difference(f"{name}, {bits} bits: tail loss beyond head loss", *value)


def _decoupled_lose_less(grid: Grid) -> Iterator[Difference]:
    run = grid[SEVERE]
    for bits in (6, 4):
        value = metrics.interaction(
            (run.predictions("baseline"), run.predictions("crt")),
            (run.quantized("baseline", SCHEME, bits), run.quantized("crt", SCHEME, bits)),
            run.labels,
            run.groups["tail"],
        )
        yield Difference(f"tail loss of the baseline beyond that of cRT, {bits} bits", *value)


def _tail_driven_helps(grid: Grid) -> Iterator[Difference]:
    run = grid[SEVERE]
    norm, tail = run.mixed("norm", BUDGET), run.mixed("tail", BUDGET)
    gain = metrics.paired_difference(norm, tail, run.labels, run.groups["tail"])
    yield Difference("tail accuracy, tail-driven minus norm-driven", *gain)
    value, low, high = metrics.paired_difference(norm, tail, run.labels, run.groups["norm"])
    yield Difference(
        f"overall accuracy, the same, beyond a loss of {MARGIN:g}",
        value + MARGIN,
        low + MARGIN,
        high + MARGIN,
    )


def _ranks_differ(grid: Grid) -> Iterator[Difference]:
    value, low, high = rank_disagreement(grid[SEVERE], bits=4)
    name = "rank correlation within a driver minus between drivers"
    yield Difference(name, value, low, high, unit="Spearman")


def rank_disagreement(run: Run, bits: int, resamples: int = RESAMPLES) -> Interval:
    """Do overall and tail accuracy rank the layers differently, beyond the noise of a ranking?

    On two halves a, b of the test images: the mean of rho(norm_a, norm_b) and rho(tail_a, tail_b)
    less the mean of rho(norm_a, tail_b) and rho(tail_a, norm_b), rho Spearman's. The value is the
    mean and the interval the central 95 % over random stratified halves of a bootstrap sample.
    """
    outcomes = np.stack([p == run.labels for p in run.one_layer(bits).values()]).astype(np.float32)
    members = [np.flatnonzero(run.labels == label) for label in range(len(run.classes))]
    generator = np.random.default_rng(0)
    values = []
    for _ in range(resamples):
        halves: list[list[np.ndarray]] = [[], []]
        for mine in members:
            drawn = generator.choice(mine, len(mine))
            # an image drawn twice stays in one half: halves must not share images
            side = generator.permutation(len(mine)) < len(mine) // 2
            first = side[np.searchsorted(mine, drawn)]
            for half, chosen in zip(halves, (drawn[first], drawn[~first]), strict=True):
                half.append(outcomes[:, chosen].mean(1))
        scores = [np.stack(half, axis=1) for half in halves]  # (layers, classes)
        norm = [s.mean(1) for s in scores]
        tail = [s[:, run.groups["tail"]].mean(1) for s in scores]
        within = metrics.spearman(*norm) + metrics.spearman(*tail)
        between = metrics.spearman(norm[0], tail[1]) + metrics.spearman(tail[0], norm[1])
        values.append((within - between) / 2)
    low, high = np.percentile(values, [2.5, 97.5])
    return float(np.mean(values)), float(low), float(high)


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


def evaluate(profile: str = "laptop", seed: int = 0) -> list[Result]:
    """Every claim with its verdict, from records that exist (nothing is computed here)."""
    grid = {run.config.imbalance_factor: run for run in evidence.open_grid(profile, seed)}
    results = []
    for claim in CLAIMS:
        tests = tuple(claim.test(grid)) if _measured(grid) else ()
        results.append(Result(claim, decide(tests), tests))
    return results


def _measured(grid: Grid) -> bool:
    """Whether the records that the claims need are published or cached."""
    needed = [(run, "decouple") for run in grid.values()]
    needed += [(grid[SEVERE], step) for step in ("ptq", "sensitivity", "mpq")]
    return all(records.find(run.config.digest(), step) for run, step in needed)


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
