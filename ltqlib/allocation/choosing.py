"""The public entry: from the losses of single layers to a bit-width for each layer."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ltqlib.allocation.costs import Bits, Limit
from ltqlib.allocation.inputs import Alone, Minimize, check, limits_of, table_of
from ltqlib.allocation.losses import predicted_losses
from ltqlib.allocation.objective import Objective
from ltqlib.allocation.pareto import front
from ltqlib.allocation.ranking import greedy, rank, split
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
    max_bops: float | None = None,
    how: str = "ranking",
    costs: Any = None,
    act_bits: Bits = 8,
    limits: Sequence[Limit] = (),
    tied: Sequence[Sequence[str]] = (),
    max_class_loss: float | xr.DataArray | None = None,
    interactions: xr.DataArray | None = None,
) -> Widths:
    """A bit-width for each layer, from what each layer alone costs the classes.

    ``ranking`` is the post's allocation: layers are ranked by the loss with only that layer at the
    smaller of two widths, and the most sensitive get the larger one as long as the limits hold.
    ``greedy`` lowers one layer after the other (AIMET), ``exact`` solves an integer program.

    Args:
        alone: what :func:`ltqlib.sensitivity` returns, 32 bits among its widths, or losses
            (..., class, layer, bits), see :func:`ltqlib.allocation.class_losses`. Other dimensions,
            such as ``seed``, are allocated one by one.
        minimize: ``norm`` (all classes), a group such as ``tail``, ``worst``, ``cvar:0.3`` (the
            worst 30 % of the classes), a sum such as ``0.7*norm + 0.3*tail``, or an
            :class:`~ltqlib.allocation.Objective`. ``curve`` is the tail's loss at equal head
            accuracy, see :func:`ltqlib.allocation.curve_losses`. An array (..., layer, bits) is
            minimized itself, in place of the losses in ``alone``.
        choices: the widths to choose from; ``ranking`` takes two.
        mean_bits: limit on the bits a weight, averaged over all weights.
        max_size: limit on the bytes of the weights.
        max_bops: limit on the bit operations of one image, with inputs of ``act_bits`` bits.
        how: ``ranking``, ``greedy`` (one limit) or ``exact``.
        costs: ``{layer: {"parameters": ..., "macs": ...}}`` (or values with these attributes, as in
            ``Graph.layers``), where ``alone`` has no such coordinates on layer.
        limits: more limits, for instance on measured latency.
        tied: groups of layers that must share a width (not for ``ranking``).
        max_class_loss: no class may lose more, in the unit of the losses (``exact``).
        interactions: what pairs lose beyond the sum (``exact``), see
            :func:`ltqlib.allocation.pair_losses`.

    Returns:
        weight bits (..., layer) with ``mean_bits`` and ``predicted``, see
        :class:`~ltqlib.allocation.Widths`.

    Raises:
        InputError: a width that was not measured, an unknown objective or way, or no limit.
        ltqlib.allocation.InfeasibleError: no widths keep the limits.

    Examples:
        >>> widths = allocate(alone, minimize="tail", choices=(6, 4), mean_bits=5)
    """
    losses, objective = table_of(alone, minimize, choices, costs)
    every = [*limits_of(losses, mean_bits, max_size, max_bops, act_bits), *limits]
    exact = {"max_class_loss": max_class_loss, "interactions": interactions}
    check(how, every, tied, [name for name, value in exact.items() if value is not None], losses)
    found = np.empty((*losses.shape[:-3], losses.sizes["layer"]), dtype=np.int64)
    for place, at, table in _each(losses):
        given = {name: _at(value, at) for name, value in exact.items()}
        found[place] = list(_one(how, table, every, objective, tied, given).values())
    return _widths(found, losses, objective, interactions)


def random_widths(
    alone: Alone, *args: Any, draws: int = 20, seed: int = 0, **options: Any
) -> Widths:
    """The null of :func:`allocate`: the same allocation from losses whose layers are shuffled.

    It knows how bits are spent, but not on which layer: what an allocation gains over it is what
    the sensitivity knows. With ``how="ranking"`` it is a ranking in random order.

    Args:
        alone, args, options: as for :func:`allocate`, without interactions.
        draws: how many; every draw and every table of ``alone`` is shuffled on its own.
        seed: of the draws.

    Returns:
        weight bits (draw, ..., layer).

    Raises:
        InputError: as :func:`allocate`.
    """
    given = dict(zip(("minimize", "choices"), args, strict=False)) | options
    minimize, choices = given.pop("minimize", "norm"), given.pop("choices", (6, 4))
    losses, objective = table_of(alone, minimize, choices, given.pop("costs", None))
    generator = np.random.default_rng(seed)
    shuffled = losses.expand_dims(draw=draws).copy(deep=True)
    for place, _, table in _each(shuffled):
        shuffled.values[place] = table.values[:, generator.permutation(losses.sizes["layer"])]
    widths = allocate(shuffled, objective, choices, **given)
    return Widths.of(xr.DataArray(widths).drop_vars("predicted"))


def pareto_front(
    alone: Alone,
    minimize: Minimize = "norm",
    choices: Sequence[int] = (8, 6, 5, 4, 3, 2),
    *,
    cost: str | Limit = "mean_bits",
    points: int = 100,
    costs: Any = None,
    act_bits: Bits = 8,
    **options: Any,
) -> pd.DataFrame:
    """The best allocations at equally spaced limits of one cost: no other has less of both.

    Args:
        alone, minimize, choices, costs, act_bits: as for :func:`allocate`.
        cost: ``mean_bits``, ``max_size``, ``max_bops`` or a :class:`~ltqlib.allocation.Limit`.
        points: how many limits.
        options: ``others`` (more limits), ``tied`` and ``max_class_loss``.

    Returns:
        a row an allocation, in order of its cost: the other dimensions of ``alone``, ``cost``,
        ``predicted`` (the objective), and the bits of each layer.

    Raises:
        InputError, InfeasibleError: as :func:`allocate`.
    """
    losses, objective = table_of(alone, minimize, choices, costs)
    if isinstance(cost, str):
        if cost not in ("mean_bits", "max_size", "max_bops"):
            raise InputError(f"cost {cost!r} is unknown: use mean_bits, max_size or max_bops")
        sought = {"mean_bits": None, "max_size": None, "max_bops": None, cost: np.inf}
        (cost,) = limits_of(losses, **sought, act_bits=act_bits)
    rows = [
        {**at, "cost": found.costs[cost.name], "predicted": found.objective, **found.widths}
        for _, at, table in _each(losses)
        for found in front(table, cost, objective, points, **options)
    ]
    return pd.DataFrame(rows)


def _each(losses: xr.DataArray) -> Iterator[tuple[tuple[int, ...], dict[str, Any], xr.DataArray]]:
    """Every table (class, layer, bits), with its place and the labels of its dimensions."""
    rest = losses.dims[:-3]
    for place in np.ndindex(losses.shape[:-3]):
        table = losses.isel(dict(zip(rest, place, strict=True)))
        labels = {
            str(name): losses[name].values[k].item() if name in losses.coords else k
            for name, k in zip(rest, place, strict=True)
        }
        yield place, labels, table


def _at(value: Any, at: Mapping[str, Any]) -> Any:
    """A value, or the part of an array that belongs to one table; single numbers as floats."""
    if not isinstance(value, xr.DataArray):
        return value
    found = value.sel({name: label for name, label in at.items() if name in value.dims})
    return found if found.ndim else float(found)


def _one(
    how: str,
    table: xr.DataArray,
    limits: Sequence[Limit],
    objective: Objective,
    tied: Sequence[Sequence[str]],
    exact: Mapping[str, Any],
) -> dict[str, int]:
    if how == "exact":
        return solve(table, limits, objective, tied=tied, **exact).widths
    if how == "greedy":
        return greedy(table, limits[0], objective, tied)
    high, low = table.bits.values.tolist()
    return split(rank(table, objective, low), limits, high, low)


def _widths(
    found: np.ndarray,
    losses: xr.DataArray,
    objective: Objective,
    interactions: xr.DataArray | None,
) -> Widths:
    """The widths as a labelled array, with what is known of them."""
    rest = losses.dims[:-3]
    coords = {n: c for n, c in losses.coords.items() if not {"class", "bits"} & set(c.dims)}
    bits = xr.DataArray(found, coords, [*rest, "layer"])
    expected = predicted_losses(losses, bits, interactions).transpose("class", ...)
    value = xr.DataArray(objective.value(expected.values), dims=expected.dims[1:])
    return Widths.of(bits.assign_coords(predicted=value))
