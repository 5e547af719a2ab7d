"""The public entry: from the losses of single layers to a bit-width for each layer."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from ltqlib.allocation.costs import Limit
from ltqlib.allocation.inputs import Alone, Minimize, limits_of, table_of, widths_of
from ltqlib.allocation.losses import predicted_losses
from ltqlib.allocation.objective import Objective
from ltqlib.allocation.ranking import rank, split
from ltqlib.allocation.solver import solve
from ltqlib.allocation.widths import Widths
from ltqlib.errors import InputError


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
            (..., class, layer, bits), see :func:`ltqlib.allocation.class_losses`. ``exact`` needs
            every choice, ``ranking`` the smaller one alone. Other dimensions, such as ``seed``, are
            allocated one by one. The coordinate ``parameters`` on layer is what mean_bits and
            max_size count.
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
        weight bits (..., layer) with ``mean_bits`` and, if the losses at every width that is used
        are known, ``predicted``; see :class:`~ltqlib.allocation.Widths`.

    Raises:
        InputError: a width that was not measured, choices that are no whole numbers, an unknown
            objective or way, or no limit.
        ltqlib.allocation.InfeasibleError: no widths keep the limits.

    Examples:
        >>> widths = allocate(alone, minimize="tail", choices=(6, 4), mean_bits=5)
    """
    widths = widths_of(choices, how)
    losses, objective = table_of(alone, minimize, widths, how)
    every = [*limits_of(losses, widths, mean_bits, max_size), *limits]
    if not every:
        raise InputError("an allocation without a limit: give mean_bits, max_size or limits")
    found = np.empty((*losses.shape[:-3], losses.sizes["layer"]), dtype=np.int64)
    for place in np.ndindex(losses.shape[:-3]):
        table = losses[place]
        if how == "exact":
            found[place] = list(solve(table, every, objective).widths.values())
        else:
            order = rank(table, objective, low=widths[1])
            found[place] = list(split(order, every, *widths).values())
    return _widths(found, losses, objective)


def random_widths(
    alone: Alone,
    minimize: Minimize = "norm",
    choices: Sequence[int] = (6, 4),
    *,
    draws: int = 20,
    seed: int = 0,
    how: str = "ranking",
    **options: Any,
) -> Widths:
    """The null of :func:`allocate`: the same allocation from losses whose layers are shuffled.

    It knows how bits are spent, but not on which layer: what an allocation gains over it is what
    the sensitivity knows. With ``how="ranking"`` it is a ranking in random order.

    Args:
        alone, minimize, choices, how, options: as for :func:`allocate`.
        draws: how many; every draw and every table of ``alone`` is shuffled on its own.
        seed: of the draws.

    Returns:
        weight bits (draw, ..., layer).

    Raises:
        InputError: as :func:`allocate`.
    """
    losses, objective = table_of(alone, minimize, widths_of(choices, how), how)
    generator = np.random.default_rng(seed)
    shuffled = losses.expand_dims(draw=draws).copy(deep=True)
    for place in np.ndindex(shuffled.shape[:-3]):
        order = generator.permutation(losses.sizes["layer"])
        shuffled.values[place] = shuffled.values[place][:, order]
    found = allocate(shuffled, objective, choices, how=how, **options)
    return Widths(found.drop_vars("predicted", errors="ignore"))


def _widths(found: np.ndarray, losses: xr.DataArray, objective: Objective) -> Widths:
    """The widths as a labelled array, with what is known of them."""
    rest = losses.dims[:-3]
    coords = {n: c for n, c in losses.coords.items() if not {"class", "bits"} & set(c.dims)}
    bits = xr.DataArray(found, coords, [*rest, "layer"])
    if set(np.unique(found)) - set(losses.bits.values):  # a ranking needs less than a prediction
        return Widths.of(bits)
    expected = predicted_losses(losses, bits).transpose("class", ...)
    value = xr.DataArray(objective.value(expected.values), dims=expected.dims[1:])
    return Widths.of(bits.assign_coords(predicted=value))
