"""Racing: look at images until it is decided whether a layer and width loses too much accuracy.

What is asked for is the drop on all N images. After n of them, drawn without replacement, the
images that quantization broke (right before, wrong after) and repaired are hypergeometric counts;
exact bounds on both (Clopper and Pearson, 1934, for a finite population) give bounds on the drop,
which close when all images are seen. In the spirit of Hoeffding races (Maron and Moore, 1994).
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import hypergeom

from ltqlib.first.data import Images
from ltqlib.first.errors import InputError
from ltqlib.first.models import predict_logits
from ltqlib.first.sensitivity.sweep import Sweep

Ints = npt.NDArray[np.int64]
Outcomes = Callable[[Ints, npt.NDArray[np.bool_]], Ints]
LOOKS = (0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0)  # shares of the images after which to decide


@dataclass(frozen=True)
class Verdict:
    """Whether a drop in accuracy is above the tolerance, and what is known about it.

    ``low`` and ``high`` bound the drop on all images, in percentage points; ``images`` were seen.
    """

    above: bool
    low: float
    high: float
    images: int


def race(
    sweep: Sweep,
    images: Images,
    labels: Ints,
    tolerance: float,
    error: float = 0.01,
    seed: int = 0,
) -> dict[str, dict[int, Verdict]]:
    """For every layer and width: does quantizing it lose more than ``tolerance`` points?

    Args:
        sweep: the network, the widths, and how to compute.
        images, labels: uint8 (N, H, W, 3) and (N,); "accuracy" is that on all of them.
        tolerance: drop in accuracy, in percentage points.
        error: probability that any of the verdicts differs from that on all images, at most.
        seed: of the order in which the images are seen.

    Returns:
        ``{layer: {bits: verdict}}``.

    Raises:
        InputError: ``error`` is not between 0 and 1.
    """
    if not 0 < error < 1:
        raise InputError(f"error {error!r} is not a probability: give one between 0 and 1")
    order = np.random.default_rng(seed).permutation(len(images))
    right = predict_logits(sweep.network, images).argmax(1) == labels

    def outcomes(positions: Ints, active: npt.NDArray[np.bool_]) -> Ints:
        wanted = np.repeat(active[..., None], len(positions), axis=-1)
        found = sweep.predict(images[positions], wanted, "race")
        return right[positions].astype(np.int64) - (found == labels[positions])

    shape = (len(sweep.layers), len(sweep.widths))
    verdicts = decide(outcomes, order, shape, tolerance, error)
    return {
        layer: dict(zip(sweep.widths, row, strict=True))
        for layer, row in zip(sweep.layers, verdicts, strict=True)
    }


def decide(
    outcomes: Outcomes,
    order: Ints,
    shape: tuple[int, int],
    tolerance: float,
    error: float,
) -> list[list[Verdict]]:
    """The race itself.

    Args:
        outcomes: ``(positions (n,), active (layers, widths))`` to (layers, widths, n): 1 where an
            image was broken, -1 where it was repaired, 0 where neither (or not active).
        order: all N positions, in random order.
        shape: (layers, widths).
        tolerance: drop in accuracy, in percentage points.
        error: probability that any interval misses its drop, at most: it is shared equally among
            all layers, widths, looks and the four bounds (a union bound).

    Returns:
        One verdict a layer and width.
    """
    total = len(order)
    looks = sorted({max(1, round(share * total)) for share in LOOKS})
    alpha = error / (shape[0] * shape[1] * len(looks) * 4)
    broken, repaired = np.zeros((2, *shape), dtype=np.int64)
    verdicts: dict[tuple[int, int], Verdict] = {}
    active = np.ones(shape, dtype=bool)
    for start, end in zip([0, *looks], looks, strict=False):
        if not active.any():
            break
        found = outcomes(order[start:end], active)
        broken += np.where(active, (found > 0).sum(-1), 0)
        repaired += np.where(active, (found < 0).sum(-1), 0)
        for place in zip(*np.nonzero(active), strict=True):
            low, high = drop_bounds(int(broken[place]), int(repaired[place]), end, total, alpha)
            if low > tolerance or high <= tolerance:
                verdicts[place] = Verdict(low > tolerance, low, high, end)
                active[place] = False
    return [[verdicts[layer, width] for width in range(shape[1])] for layer in range(shape[0])]


def drop_bounds(
    broken: int, repaired: int, seen: int, total: int, alpha: float
) -> tuple[float, float]:
    """Bounds on the drop over all images, in percentage points; each side errs with 2 ``alpha``."""
    most_broken = total - least(seen - broken, seen, total, alpha)
    most_repaired = total - least(seen - repaired, seen, total, alpha)
    low = least(broken, seen, total, alpha) - most_repaired
    high = most_broken - least(repaired, seen, total, alpha)
    return 100 * low / total, 100 * high / total


@functools.lru_cache(maxsize=100_000)
def least(count: int, seen: int, total: int, alpha: float) -> int:
    """Lower bound on how many of ``total`` are marked, when ``count`` of ``seen`` drawn are.

    The smallest number that would give ``count`` or more with probability above ``alpha``; it is
    too large with probability ``alpha`` at most, and exact when all are seen.
    """
    low, high = count, total - (seen - count)
    while low < high:
        middle = (low + high) // 2
        if hypergeom.sf(count - 1, total, middle, seen) > alpha:
            high = middle
        else:
            low = middle + 1
    return low
