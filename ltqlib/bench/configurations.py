"""Which bit configurations LTQ-Bench holds: drawn before any of them was evaluated.

Random configurations are the leaves of a tree: prefixes, each with several middles, each with
several ends. Evaluating them takes a fraction of the time of independent draws, because what shares
its first layers runs through them once; but those of one prefix are not independent, so every
configuration carries its ``cluster``. Structured ones are what practice tries first.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy.optimize import brentq

from ltqlib.allocation import Widths
from ltqlib.errors import InputError

FLOAT = 32
BROKEN = 2  # bits at which one layer alone ruins the network: kept, but rare

FAMILIES = ("uniform", "one-layer", "ends", "split", "monotone", "two-width", "random")

Row = tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """What is drawn.

    Args:
        widths: weight bits that random and structured configurations are made of, ascending.
        stages: numbers of layers before which structured configurations change their width.
        cuts: where a random prefix and a middle end, in layers.
        prefixes: random prefixes (clusters) of all widths.
        pairs: random prefixes of two widths only, ``low_high``.
        branches: middles of a prefix, and ends of a middle.
        low_high: the two widths of the post's allocations.
        means: the range of a random prefix's average bits a layer.
        spread: standard deviation of the same average around it in middles and ends.
        broken: share of prefixes, middles and ends with one layer at 2 bits.
        seed: of all draws.

    Raises:
        InputError: the cuts are not ascending, or more is asked for than there is.
    """

    widths: tuple[int, ...] = (3, 4, 5, 6, 8)
    stages: tuple[int, ...] = (2, 4, 7, 10, 13)
    cuts: tuple[int, int] = (7, 10)
    prefixes: int = 250
    pairs: int = 30
    branches: tuple[int, int] = (4, 5)
    low_high: tuple[int, int] = (4, 6)
    means: tuple[float, float] = (3.5, 6.5)
    spread: float = 0.8
    broken: float = 0.04
    seed: int = 0

    def __post_init__(self) -> None:
        first, second = self.cuts
        if not 0 < first < second:
            raise InputError(f"cuts {self.cuts} are not ascending: give two numbers of layers")
        # half of what there is: draws without repetition end, and soon
        if 2 * self.pairs > 2**first or 2 * self.branches[0] > 2 ** (second - first):
            raise InputError(
                f"{self.pairs} prefixes and {self.branches[0]} middles are too many for two widths "
                f"and cuts {self.cuts}: ask for fewer"
            )


PLAN = Plan()  # of 16 layers: 5,000 random configurations and 1,000 others


@dataclass
class _Drawn:
    """Rows of weight bits with their family and cluster, none twice."""

    rows: list[Row] = field(default_factory=list)
    family: list[str] = field(default_factory=list)
    cluster: list[int] = field(default_factory=list)
    known: set[Row] = field(default_factory=set)

    def add(self, family: str, row: Sequence[int], cluster: int) -> bool:
        """Keep a configuration unless it is known already; says whether it was new."""
        values = tuple(int(bits) for bits in row)
        if values in self.known:
            return False
        self.known.add(values)
        self.rows.append(values)
        self.family.append(family)
        self.cluster.append(cluster)
        return True


def draw(layers: Sequence[str], plan: Plan = PLAN) -> Widths:
    """All configurations of a network: unique, the same at every call.

    Args:
        layers: names of the layers, in order of execution.

    Returns:
        weight bits (configuration, layer); 32 is float. Coordinates of a configuration: ``family``,
        one of FAMILIES, and ``cluster``, equal where a random prefix is shared, else its own.

    Raises:
        InputError: the network has too few layers for the plan.
    """
    count = len(layers)
    if count <= max(*plan.cuts, *plan.stages):
        raise InputError(
            f"the benchmark cuts behind layer {max(*plan.cuts, *plan.stages)}, the network has "
            f"{count} layers: give cuts and stages within it"
        )
    found = _Drawn()
    for family, rows in _structured(count, plan).items():
        for row in rows:
            found.add(family, row, len(found.rows))
    _draw_tree(found, "two-width", count, plan, plan.pairs)
    _draw_tree(found, "random", count, plan, plan.prefixes)
    coords = {
        "layer": list(layers),
        "family": ("configuration", found.family),
        "cluster": ("configuration", found.cluster),
    }
    return Widths.of(xr.DataArray(found.rows, coords, ["configuration", "layer"]))


def _structured(layers: int, plan: Plan) -> dict[str, Iterator[Row]]:
    every = (BROKEN, *plan.widths, FLOAT)
    ends = [0, *plan.stages, layers]
    lengths = [after - before for before, after in itertools.pairwise(ends)]
    return {
        "uniform": ((bits,) * layers for bits in every),
        "one-layer": _one_layer(layers, every),
        "ends": _ends(layers, plan.widths),
        "split": _splits(layers, plan),
        "monotone": _monotone(lengths, plan.widths),
    }


def _one_layer(layers: int, every: Sequence[int]) -> Iterator[Row]:
    """One layer at another width than all the others: float, 8 bits, 4 bits."""
    for rest, layer, bits in itertools.product((FLOAT, 8, 4), range(layers), every[:-1]):
        yield (*(rest,) * layer, bits, *(rest,) * (layers - layer - 1))


def _ends(layers: int, widths: Sequence[int]) -> Iterator[Row]:
    """First layer, last layer or both at 8 bits, as is usual, and the others narrower."""
    for rest, first, last in itertools.product(widths[:-1], (False, True), (False, True)):
        yield (8 if first else rest, *(rest,) * (layers - 2), 8 if last else rest)


def _splits(layers: int, plan: Plan) -> Iterator[Row]:
    """One width up to a stage, another from there on."""
    for cut, (before, after) in itertools.product(
        plan.stages, itertools.permutations(plan.widths, 2)
    ):
        yield (*(before,) * cut, *(after,) * (layers - cut))


def _monotone(lengths: Sequence[int], widths: Sequence[int]) -> Iterator[Row]:
    """Widths that only fall, or only rise, from stage to stage, of three neighbouring widths."""
    for start, downwards in itertools.product(range(len(widths) - 2), (True, False)):
        three = sorted(widths[start : start + 3], reverse=downwards)
        for chosen in itertools.combinations_with_replacement(three, len(lengths)):
            yield tuple(b for b, n in zip(chosen, lengths, strict=True) for _ in range(n))


def _draw_tree(found: _Drawn, family: str, layers: int, plan: Plan, count: int) -> None:
    """``count`` prefixes with their middles and ends, each prefix a cluster."""
    first, second = plan.cuts
    rng = np.random.default_rng([plan.seed, FAMILIES.index(family)])
    prefixes: set[Row] = set()
    while len(prefixes) < count:
        target = rng.uniform(*plan.means)
        prefix = _segment(rng, family, plan, first, target)
        if prefix in prefixes:
            continue
        prefixes.add(prefix)
        cluster = len(found.rows)  # the place of its first configuration
        kept: set[Row] = set()
        while len(kept) < plan.branches[0]:  # other middles, until there are enough
            kept.add(_segment(rng, family, plan, second - first, _near(rng, plan, target)))
        for middle in sorted(kept):
            new = 0
            while new < plan.branches[1]:
                end = _segment(rng, family, plan, layers - second, _near(rng, plan, target))
                new += found.add(family, prefix + middle + end, cluster)


def _near(rng: np.random.Generator, plan: Plan, target: float) -> float:
    low, high = plan.widths[0], plan.widths[-1]
    return float(np.clip(target + plan.spread * rng.standard_normal(), low + 0.1, high - 0.5))


def _segment(rng: np.random.Generator, family: str, plan: Plan, length: int, target: float) -> Row:
    """Widths of some layers whose expected average is ``target``."""
    if family == "two-width":
        low, high = plan.low_high
        share = np.clip((target - plan.means[0]) / (plan.means[1] - plan.means[0]), 0.1, 0.9)
        return tuple(np.where(rng.random(length) < share, high, low).tolist())
    row = rng.choice(plan.widths, size=length, p=tilted(plan.widths, target))
    if rng.random() < plan.broken:
        row[rng.integers(length)] = BROKEN
    return tuple(row.tolist())


def tilted(widths: Sequence[int], mean: float) -> npt.NDArray[np.float64]:
    """The distribution of largest entropy on ``widths`` with a given mean: exponential in them."""

    def weights(slope: float) -> list[float]:
        return [math.exp(slope * (bits - mean)) for bits in widths]

    def excess(slope: float) -> float:
        found = weights(slope)
        return (
            math.fsum(w * bits for w, bits in zip(found, widths, strict=True)) / sum(found) - mean
        )

    found = np.array(weights(brentq(excess, -50, 50)))
    return found / found.sum()
