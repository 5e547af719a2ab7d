"""Every claim of the post as tests on outcomes, with a verdict that is committed and checked.

A claim is a few differences, each with a 95 % interval, that the claim says lie above zero.
The rule was fixed before any network was trained:

* **reproduced**: every interval lies above zero;
* **not reproduced**: some interval lies below zero (the opposite was found);
* **inside the noise**: neither; at least one interval holds zero;
* **not yet measured**: a network is missing.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import xarray as xr
import yaml

import ltqlib as ltq
from ltqlib import paths
from ltqlib.errors import InputError

VERDICTS = ("reproduced", "not reproduced", "inside the noise", "not yet measured")
FACTORS = (0.1, 0.02, 0.01)
SEVERE = 0.01
BUDGET = 5.0  # mean weight bits of the mixed-precision claims
MARGIN = 1.0  # points of overall accuracy that count as negligible
MODELS = ("baseline", "crt")


@dataclass(frozen=True)
class Difference:
    """One difference that the claim says is above zero, in ``unit``."""

    name: str
    value: float
    low: float
    high: float
    unit: str = "points"


@dataclass(frozen=True)
class Experiment:
    """Where the claims are tested: the data and the profile of the networks."""

    profile: str = "laptop"
    source: str = "cifar10"

    def networks(self, factor: float) -> dict[str, "ltq.Networks"]:
        """Baseline and cRT at an imbalance factor."""
        baseline = ltq.train(ltq.load_data(self.source, factor), profile=self.profile)
        return {"baseline": baseline, "crt": ltq.decouple(baseline, "crt")}

    def right(self, factor: float, bits: Sequence[int] = (32,)) -> xr.DataArray:
        """Right or wrong of each image: (model, seed, bits, image)."""
        return ltq.evaluate(self.networks(factor), bits=bits).right

    def floats(self, factor: float) -> xr.DataArray:
        """Of the float networks: (model, seed, image)."""
        return self.right(factor).sel(bits=32, drop=True)


@dataclass(frozen=True)
class Claim:
    """A sentence of the post, where the book treats it, and the test of it."""

    key: str
    sentence: str
    section: str
    page: str
    test: Callable[[Experiment], Iterator[Difference]]


@dataclass(frozen=True)
class Result:
    """A claim with what was found."""

    claim: Claim
    verdict: str
    tests: tuple[Difference, ...]


def decide(tests: Sequence[Difference]) -> str:
    """The verdict on intervals, by the rule of this module."""
    if not tests:
        return "not yet measured"
    if all(test.low > 0 for test in tests):
        return "reproduced"
    if any(test.high < 0 for test in tests):
        return "not reproduced"
    return "inside the noise"


def _difference(name: str, values: xr.DataArray, by: object, plus: float = 0.0) -> Difference:
    """The one estimate of ``values``; ``plus`` is added to it and to its interval."""
    (row,) = ltq.estimate(values, by=by)[["value", "low", "high"]].to_numpy()
    value, low, high = (float(x) + plus for x in row)
    return Difference(name, value, low, high)


def _tail(values: xr.DataArray) -> dict[str, list[int]]:
    labels, groups = values["label"].values, values["group"].values
    return {"tail": sorted(set(labels[groups == "tail"].tolist()))}


def _gap_widens(experiment: Experiment) -> Iterator[Difference]:
    for milder, stronger in ((0.1, 0.02), (0.02, 0.01)):
        pair = [experiment.floats(f).sel(model="baseline") for f in (milder, stronger)]
        a, b = xr.align(*pair, join="inner")
        yield _difference(
            f"head-tail gap, IF {stronger} minus IF {milder}", a - b, ("tail", "head")
        )


def _gain(experiment: Experiment, factor: float) -> xr.DataArray:
    right = experiment.floats(factor)
    return right.sel(model="crt") - right.sel(model="baseline")


def _decoupling_narrows(experiment: Experiment) -> Iterator[Difference]:
    for factor in FACTORS:
        gain = _gain(experiment, factor)
        yield _difference(f"gap closed by cRT, IF {factor}", gain, ("tail", "head"))


def _most_at_strongest(experiment: Experiment) -> Iterator[Difference]:
    mild, severe = xr.align(_gain(experiment, 0.1), _gain(experiment, SEVERE), join="inner")
    yield _difference("gap closed at IF 0.01 minus at IF 0.1", severe - mild, ("tail", "head"))


def _ten_points_remain(experiment: Experiment) -> Iterator[Difference]:
    right = experiment.floats(SEVERE).sel(model="crt")
    yield _difference("gap of cRT at IF 0.01, beyond 10", right, ("head", "tail"), -10)


def _lost(experiment: Experiment) -> xr.DataArray:
    right = experiment.right(SEVERE, (32, 6, 4))
    return right.sel(bits=32) - right


def _fewer_bits_cost_tail(experiment: Experiment) -> Iterator[Difference]:
    lost = _lost(experiment)
    for model in MODELS:
        for bits in (6, 4):
            name = f"{model}, {bits} bits: tail loss beyond head loss"
            yield _difference(name, lost.sel(model=model, bits=bits), ("tail", "head"))


def _decoupled_lose_less(experiment: Experiment) -> Iterator[Difference]:
    lost = _lost(experiment)
    less = lost.sel(model="baseline") - lost.sel(model="crt")
    for bits in (6, 4):
        name = f"tail loss, baseline beyond cRT, {bits} bits"
        yield _difference(name, less.sel(bits=bits), _tail(less))


def mixed_precision(networks: "ltq.Networks", drivers: Sequence[str]) -> xr.DataArray:
    """Right or wrong under 6 and 4 bits, chosen on one half of the images, judged on the other.

    Args:
        networks: whose layers are ranked.
        drivers: what they are ranked by: "norm", "tail" or "curve".

    Returns:
        (seed, configuration, image): the float network, and one configuration a driver.
    """

    def judged(choose: "ltq.Split", judge: "ltq.Split") -> xr.DataArray:
        alone = ltq.sensitivity(networks, choose, bits=[4])
        widths = {
            driver: ltq.allocate(alone, minimize=driver, choices=(6, 4), mean_bits=BUDGET)
            for driver in drivers
        }
        return ltq.evaluate(networks, judge, {"float": 32, **widths}).right

    first, second = networks.data.test.halves()
    return xr.concat([judged(first, second), judged(second, first)], "image")


def _tail_driven_helps(experiment: Experiment) -> Iterator[Difference]:
    right = mixed_precision(experiment.networks(SEVERE)["crt"], ("norm", "tail"))
    change = right.sel(configuration="tail") - right.sel(configuration="norm")
    yield _difference("tail accuracy, tail-driven minus norm-driven", change, _tail(change))
    name = f"overall accuracy, tail-driven minus norm-driven, plus {MARGIN:g}"
    yield _difference(name, change, "norm", MARGIN)


def _ranks_differ(experiment: Experiment) -> Iterator[Difference]:
    from ltqlib.statistics.ranks import ranks_differ

    alone = ltq.sensitivity(experiment.networks(SEVERE)["crt"], bits=[4])
    value, low, high = ranks_differ(alone.right.sel(bits=4))[["value", "low", "high"]].to_numpy()[0]
    name = "rank correlation of layers: same measure on two halves minus two measures"
    yield Difference(name, float(value), float(low), float(high), unit="Spearman")


CLAIMS = (
    Claim(
        "gap-widens",
        "The head-tail gap widens with imbalance, and overall accuracy hides it.",
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
        "Decoupled models lose less tail accuracy to quantization.",
        "3.3",
        "quantized",
        _decoupled_lose_less,
    ),
    Claim(
        "tail-driven-helps",
        "Tail-driven mixed precision raises tail accuracy at negligible cost.",
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


def evaluate_claims(
    profile: str = "laptop", source: str = "cifar10", page: str = ""
) -> list[Result]:
    """Every claim (of one page) with its verdict."""
    experiment = Experiment(profile, source)
    results = []
    for claim in CLAIMS:
        if page in ("", claim.page):
            tests = tuple(claim.test(experiment))
            results.append(Result(claim, decide(tests), tests))
    return results


def verdicts(profile: str = "laptop", source: str = "cifar10", page: str = "") -> dict[str, str]:
    """``{claim: verdict}`` of a page's claims, for its prose."""
    return {r.claim.key: r.verdict for r in evaluate_claims(profile, source, page)}


def committed() -> dict[str, str]:
    """The verdicts that the book was written with (book/claims.yml)."""
    path = paths.book("claims.yml")
    try:
        told = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing: it holds the committed verdicts") from error
    keys = {claim.key for claim in CLAIMS}
    for key, verdict in told.items():
        if key not in keys or verdict not in VERDICTS:
            raise InputError(f"{path}: {key}: {verdict} is not a claim with a verdict")
    return told


def disagreements(results: Sequence[Result]) -> list[str]:
    """One line for each claim whose verdict is not the committed one."""
    before = committed()
    return [
        f"{r.claim.key}: committed {before.get(r.claim.key, 'nothing')!r}, found {r.verdict!r}"
        for r in results
        if before.get(r.claim.key) != r.verdict
    ]
