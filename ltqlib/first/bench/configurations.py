"""Which bit configurations LTQ-Bench holds: drawn before any of them was evaluated.

Random configurations are the leaves of a tree: prefixes, each with several middles, each with
several ends. Evaluating them costs a fraction of independent draws, because what shares its first
layers runs through them once; in return those of one prefix are not independent, so every
configuration carries its ``cluster``. Structured ones are what practice tries first.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq

from ltqlib.first.errors import InputError

FLOAT = 32
BROKEN = 2  # bits at which one layer alone ruins the network: kept, but rare

FAMILIES = ("uniform", "one-layer", "ends", "split", "monotone", "two-width", "random")

Widths = npt.NDArray[np.int64]
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

    widths: tuple[int, ...]
    stages: tuple[int, ...]
    cuts: tuple[int, int]
    prefixes: int
    pairs: int
    branches: tuple[int, int]
    low_high: tuple[int, int]
    means: tuple[float, float]
    spread: float
    broken: float
    seed: int

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

    @classmethod
    def parse(cls, options: Mapping[str, Any]) -> "Plan":
        """A plan from the options of step ``bench``, where lists stand for tuples."""
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in options.items()
        }
        return cls(**values)


@dataclass
class Configurations:
    """The drawn configurations.

    Args:
        widths: weight bits, (M, layers); 32 is float.
        family: one of FAMILIES, by configuration.
        cluster: equal for configurations that share a random prefix, else its own, (M,).
    """

    widths: list[Row] = field(default_factory=list)
    family: list[str] = field(default_factory=list)
    cluster: list[int] = field(default_factory=list)
    _known: set[Row] = field(default_factory=set)

    def add(self, family: str, row: Sequence[int], cluster: int) -> bool:
        """Keep a configuration unless it is known already; says whether it was new."""
        values = tuple(int(bits) for bits in row)
        if values in self._known:
            return False
        self._known.add(values)
        self.widths.append(values)
        self.family.append(family)
        self.cluster.append(cluster)
        return True


def draw(layers: int, plan: Plan) -> Configurations:
    """All configurations of a network with so many layers: unique, the same at every call.

    Raises:
        InputError: the network has too few layers for the plan.
    """
    if layers <= max(*plan.cuts, *plan.stages):
        raise InputError(
            f"the benchmark cuts behind layer {max(*plan.cuts, *plan.stages)}, the network has "
            f"{layers} layers: give cuts and stages within it"
        )
    found = Configurations()
    for family, rows in _structured(layers, plan).items():
        for row in rows:
            found.add(family, row, len(found.widths))
    _draw_tree(found, "two-width", layers, plan, plan.pairs)
    _draw_tree(found, "random", layers, plan, plan.prefixes)
    return found


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


def _draw_tree(found: Configurations, family: str, layers: int, plan: Plan, count: int) -> None:
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
        cluster = len(found.widths)  # the place of its first configuration
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
    values = np.array(widths, dtype=float)

    def weights(slope: float) -> npt.NDArray[np.float64]:
        found = np.exp(slope * (values - mean))
        return found / found.sum()

    return weights(brentq(lambda slope: float(weights(slope) @ values) - mean, -50, 50))
