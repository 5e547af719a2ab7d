"""Which bit configurations LTQ-Bench holds: drawn before any of them was evaluated.

Random configurations are the leaves of a tree: prefixes, each with several middles, each with
several ends. Evaluating them takes a fraction of the time of independent draws, because what shares
its first layers runs through them once; but those of one prefix are not independent, so every
configuration carries its ``cluster``. Beside them are the float model and each layer alone at each
width, which proxies may see.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy.optimize import brentq

from ltqlib.allocation import Widths
from ltqlib.errors import InputError

FLOAT = 32
FAMILIES = ("one-layer", "random")

Row = tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """What is drawn.

    Args:
        widths: weight bits that configurations are made of, ascending.
        cuts: where a random prefix and a middle end, in layers.
        prefixes: random prefixes (clusters).
        branches: middles of a prefix, and ends of a middle.
        means: the range of a random prefix's average bits a layer.
        spread: standard deviation of the same average around it in middles and ends.
        seed: of all draws.

    Raises:
        InputError: the cuts are not ascending, or more is asked for than there is.
    """

    widths: tuple[int, ...] = (3, 4, 5, 6, 8)
    cuts: tuple[int, int] = (7, 10)
    prefixes: int = 40
    branches: tuple[int, int] = (3, 4)
    means: tuple[float, float] = (3.5, 6.5)
    spread: float = 0.8
    seed: int = 0

    def __post_init__(self) -> None:
        first, second = self.cuts
        if not 0 < first < second:
            raise InputError(f"cuts {self.cuts} are not ascending: give two numbers of layers")
        # half of what there is: draws without repetition end, and soon
        kinds, lengths = len(self.widths), (first, second - first)
        wanted = (self.prefixes, self.branches[0])
        if any(2 * n > kinds**length for n, length in zip(wanted, lengths, strict=True)):
            raise InputError(
                f"{wanted[0]} prefixes and {wanted[1]} middles are too many for {kinds} widths and "
                f"cuts {self.cuts}: ask for fewer"
            )


PLAN = Plan()  # of 16 layers: 480 random configurations, the float model, and 80 with one layer


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
    if count <= plan.cuts[1]:
        raise InputError(
            f"the benchmark cuts behind layer {plan.cuts[1]}, the network has {count} layers: "
            "give cuts within it"
        )
    alone = [
        (*(FLOAT,) * at, bits, *(FLOAT,) * (count - at - 1))
        for at in range(count)
        for bits in plan.widths
    ]
    rows, clusters = [(FLOAT,) * count, *alone], list(range(1 + len(alone)))
    for cluster, leaves in enumerate(_tree(count, plan), start=len(rows)):
        rows += leaves
        clusters += [cluster] * len(leaves)
    families = [FAMILIES[cluster > len(alone)] for cluster in clusters]
    coords = {
        "layer": list(layers),
        "family": ("configuration", families),
        "cluster": ("configuration", clusters),
    }
    return Widths.of(xr.DataArray(rows, coords, ["configuration", "layer"]))


def _tree(layers: int, plan: Plan) -> list[list[Row]]:
    """The random configurations, one list for each prefix."""
    rng = np.random.default_rng(plan.seed)
    first, second = plan.cuts
    found: dict[Row, list[Row]] = {}
    while len(found) < plan.prefixes:
        target = rng.uniform(*plan.means)
        prefix = _segment(rng, plan, first, target)
        if prefix in found:
            continue
        middles = _different(rng, plan, second - first, target, plan.branches[0])
        found[prefix] = [
            prefix + middle + end
            for middle in middles
            for end in _different(rng, plan, layers - second, target, plan.branches[1])
        ]
    return list(found.values())


def _different(
    rng: np.random.Generator, plan: Plan, length: int, target: float, count: int
) -> list[Row]:
    """Segments that differ from one another."""
    low, high = plan.widths[0], plan.widths[-1]
    kept: dict[Row, None] = {}
    while len(kept) < count:
        near = np.clip(target + plan.spread * rng.standard_normal(), low + 0.1, high - 0.5)
        kept[_segment(rng, plan, length, float(near))] = None
    return list(kept)


def _segment(rng: np.random.Generator, plan: Plan, length: int, target: float) -> Row:
    """Widths of some layers whose expected average is ``target``."""
    row = rng.choice(plan.widths, size=length, p=tilted(plan.widths, target))
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
