"""The public entry: from the losses of single layers to a bit-width for each layer."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from ltqlib.allocation.costs import Limit
from ltqlib.allocation.inputs import Alone, Minimize, check, limits_of, table_of
from ltqlib.allocation.losses import predicted_losses
from ltqlib.allocation.objective import Objective
from ltqlib.allocation.ranking import rank, split
from ltqlib.allocation.solver import solve
from ltqlib.allocation.widths import Widths


def allocate(
    alone: Alone,
    minimize: Minimize = "norm",
    choices: Sequence[int] = (6, 4),
    *,
    mean_bits: float | None = None,
    max_size: float | None = None,
    how: str = "ranking",
    limits: Sequence[Limit] = (),
) -> Widths:
    """A bit-width for each layer, from what each layer alone costs the classes.

    ``ranking`` is the post's allocation: layers are ranked by the loss with only that layer at the
    smaller of two widths, and the most sensitive get the larger one as long as the limits hold.
    ``exact`` solves an integer program.

    Args:
        alone: what :func:`ltqlib.sensitivity` returns, 32 bits among its widths, or losses
            (..., class, layer, bits), see :func:`ltqlib.allocation.class_losses`. Other dimensions,
            such as ``seed``, are allocated one by one. The coordinate ``parameters`` on layer is
            what mean_bits and max_size count.
        minimize: ``norm`` (all classes), a group such as ``tail``, ``worst``, ``cvar:0.3`` (the
            worst 30 % of the classes), a sum such as ``0.7*norm + 0.3*tail``, or an
            :class:`~ltqlib.allocation.Objective`. ``curve`` is the tail's loss at equal head
            accuracy, see :func:`ltqlib.allocation.curve_losses`. An array (..., layer, bits) is
            minimized itself, in place of the losses in ``alone``.
        choices: the widths to choose from; ``ranking`` takes two.
        mean_bits: limit on the bits a weight, averaged over all weights.
        max_size: limit on the bytes of the weights.
        how: ``ranking`` or ``exact``.
        limits: more limits, for instance on measured latency.

    Returns:
        weight bits (..., layer) with ``mean_bits`` and ``predicted``, see
        :class:`~ltqlib.allocation.Widths`.

    Raises:
        InputError: a width that was not measured, an unknown objective or way, or no limit.
        ltqlib.allocation.InfeasibleError: no widths keep the limits.

    Examples:
        >>> widths = allocate(alone, minimize="tail", choices=(6, 4), mean_bits=5)
    """
    losses, objective = table_of(alone, minimize, choices)
    every = [*limits_of(losses, mean_bits, max_size), *limits]
    check(how, every, losses)
    found = np.empty((*losses.shape[:-3], losses.sizes["layer"]), dtype=np.int64)
    for place in np.ndindex(losses.shape[:-3]):
        found[place] = list(_one(how, losses[place], every, objective).values())
    return _widths(found, losses, objective)


def random_widths(
    alone: Alone,
    minimize: Minimize = "norm",
    choices: Sequence[int] = (6, 4),
    *,
    draws: int = 20,
    seed: int = 0,
    **options: Any,
) -> Widths:
    """The null of :func:`allocate`: the same allocation from losses whose layers are shuffled.

    It knows how bits are spent, but not on which layer: what an allocation gains over it is what
    the sensitivity knows. With ``how="ranking"`` it is a ranking in random order.

    Args:
        alone, minimize, choices, options: as for :func:`allocate`.
        draws: how many; every draw and every table of ``alone`` is shuffled on its own.
        seed: of the draws.

    Returns:
        weight bits (draw, ..., layer).

    Raises:
        InputError: as :func:`allocate`.
    """
    losses, objective = table_of(alone, minimize, choices)
    generator = np.random.default_rng(seed)
    shuffled = losses.expand_dims(draw=draws).copy(deep=True)
    for place in np.ndindex(shuffled.shape[:-3]):
        order = generator.permutation(losses.sizes["layer"])
        shuffled.values[place] = shuffled.values[place][:, order]
    return Widths(allocate(shuffled, objective, choices, **options).drop_vars("predicted"))


def _one(
    how: str, table: xr.DataArray, limits: Sequence[Limit], objective: Objective
) -> dict[str, int]:
    if how == "exact":
        return solve(table, limits, objective).widths
    high, low = table.bits.values.tolist()
    return split(rank(table, objective, low), limits, high, low)


def _widths(found: np.ndarray, losses: xr.DataArray, objective: Objective) -> Widths:
    """The widths as a labelled array, with what is known of them."""
    rest = losses.dims[:-3]
    coords = {n: c for n, c in losses.coords.items() if not {"class", "bits"} & set(c.dims)}
    bits = xr.DataArray(found, coords, [*rest, "layer"])
    expected = predicted_losses(losses, bits).transpose("class", ...)
    value = xr.DataArray(objective.value(expected.values), dims=expected.dims[1:])
    return Widths.of(bits.assign_coords(predicted=value))
