"""What :func:`ltqlib.allocation.allocate` is given: as losses, an objective and limits."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from ltqlib.allocation.costs import Bits, Limit
from ltqlib.allocation.curve import curve_losses
from ltqlib.allocation.losses import class_losses, groups_of
from ltqlib.allocation.objective import Objective
from ltqlib.errors import InputError

WAYS = ("ranking", "greedy", "exact")
COSTS = ("parameters", "macs")

Minimize = str | Objective | xr.DataArray
Alone = xr.Dataset | xr.DataArray


def table_of(
    alone: Alone, minimize: Minimize, choices: Sequence[int], costs: Any
) -> tuple[xr.DataArray, Objective]:
    """Losses (..., class, layer, bits) at the choices, with costs by layer, and the objective."""
    if isinstance(minimize, str) and minimize == "curve" and isinstance(alone, xr.Dataset):
        minimize = curve_losses(alone)
    if isinstance(minimize, xr.DataArray):
        losses = class_losses(minimize.expand_dims({"class": [0]}))
        known = {n: alone[n] for n in COSTS if n in alone.coords}
        losses, objective = losses.assign_coords(known), Objective.mean()
    else:
        losses = class_losses(alone)
        objective = _objective(minimize, losses)
    if missing := sorted(set(choices) - set(losses.bits.values.tolist())):
        raise InputError(
            f"no layer was measured alone at {missing[0]} bits: measure that width, or choose from "
            f"{', '.join(map(str, losses.bits.values.tolist()))}"
        )
    losses = losses.sel(bits=sorted(set(choices), reverse=True))
    if costs is not None:
        losses = losses.assign_coords(
            {name: ("layer", _costs(costs, name, losses)) for name in COSTS}
        )
    return losses, objective


def _objective(minimize: str | Objective, losses: xr.DataArray) -> Objective:
    if isinstance(minimize, Objective):
        return minimize
    if minimize == "curve":
        raise InputError(
            "minimize='curve' needs outcomes of images: give them, or the losses at equal head "
            "accuracy as an array (layer, bits), minimize=..."
        )
    groups = groups_of(losses)
    if minimize in ("head", "tail") and not groups:
        raise InputError(
            f"minimize={minimize!r} needs to know the groups: give the classes a coordinate group"
        )
    return Objective.parse(minimize, groups)


def _costs(costs: Mapping[str, Any], name: str, losses: xr.DataArray) -> list[float]:
    found = []
    for layer in losses.layer.values.tolist():
        if layer not in costs:
            raise InputError(f"the costs of layer {layer} are missing: give its {name}")
        of = costs[layer]
        found.append(of[name] if isinstance(of, Mapping) else getattr(of, name))
    return found


def limits_of(
    losses: xr.DataArray,
    mean_bits: float | None,
    max_size: float | None,
    max_bops: float | None,
    act_bits: Bits,
) -> list[Limit]:
    """The limits that are given, over the layers and widths of the losses."""
    kinds: list[tuple[str, float | None, Callable[..., Limit], dict[str, Any]]] = [
        ("parameters", mean_bits, Limit.average_weight_bits, {}),
        ("parameters", max_size, Limit.model_size, {}),
        ("macs", max_bops, Limit.bops, {"act_bits": act_bits}),
    ]
    found = []
    for needs, most, make, more in kinds:
        if most is None:
            continue
        if needs not in losses.coords:
            raise InputError(f"the {needs} of the layers are not known: give costs=graph.layers")
        counts = losses[needs].reset_coords(drop=True)
        found.append(make(counts, losses.bits.values.tolist(), most, **more))
    return found


def check(
    how: str,
    limits: Sequence[Limit],
    tied: Sequence[Sequence[str]],
    has_class_limit: bool,
    losses: xr.DataArray,
) -> None:
    """Refuse what the way ``how`` cannot do.

    Raises:
        InputError: an unknown way, no limit, or options that only another way has.
    """
    if how not in WAYS:
        raise InputError(f"how={how!r} is unknown: use one of {', '.join(WAYS)}")
    if not limits:
        raise InputError("an allocation without a limit: give mean_bits, max_size or max_bops")
    if has_class_limit and how != "exact":
        raise InputError(f"max_class_loss is for how='exact', not {how!r}: leave it out")
    if how == "greedy" and len(limits) > 1:
        raise InputError(f"the greedy descent takes one limit, not {len(limits)}: use how='exact'")
    if how == "ranking" and tied:
        raise InputError("tied layers are not for how='ranking': use greedy or exact")
    if how == "ranking" and losses.sizes["bits"] != 2:
        raise InputError(
            f"a ranking chooses between two widths, not {losses.sizes['bits']}: give two choices, "
            "or use greedy or exact"
        )


def each_table(
    losses: xr.DataArray,
) -> Iterator[tuple[tuple[int, ...], dict[str, Any], xr.DataArray]]:
    """Every table (class, layer, bits), with its place and the labels of its dimensions."""
    rest = losses.dims[:-3]
    for place in np.ndindex(losses.shape[:-3]):
        table = losses.isel(dict(zip(rest, place, strict=True)))
        labels = {
            str(name): losses[name].values[k].item() if name in losses.coords else k
            for name, k in zip(rest, place, strict=True)
        }
        yield place, labels, table
