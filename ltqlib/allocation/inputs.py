"""What :func:`ltqlib.allocation.allocate` is given: as losses, an objective and limits."""

from collections.abc import Sequence

import xarray as xr

from ltqlib.allocation.costs import Limit
from ltqlib.allocation.curve import curve_losses
from ltqlib.allocation.losses import class_losses, groups_of
from ltqlib.allocation.objective import Objective
from ltqlib.errors import InputError

WAYS = ("ranking", "exact")
COSTS = ("parameters", "macs")

Minimize = str | Objective | xr.DataArray
Alone = xr.Dataset | xr.DataArray


def table_of(
    alone: Alone, minimize: Minimize, choices: Sequence[int]
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
    return losses.sel(bits=sorted(set(choices), reverse=True)), objective


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


def limits_of(losses: xr.DataArray, mean_bits: float | None, max_size: float | None) -> list[Limit]:
    """The limits that are given, over the layers and widths of the losses."""
    kinds = ((mean_bits, Limit.average_weight_bits), (max_size, Limit.model_size))
    given = [(most, make) for most, make in kinds if most is not None]
    if given and "parameters" not in losses.coords:
        raise InputError("the parameters of the layers are not known: assign them as a coordinate")
    bits = losses.bits.values.tolist()
    return [make(losses["parameters"].reset_coords(drop=True), bits, most) for most, make in given]


def check(how: str, limits: Sequence[Limit], losses: xr.DataArray) -> None:
    """Refuse what the way ``how`` cannot do."""
    if how not in WAYS:
        raise InputError(f"how={how!r} is unknown: use one of {', '.join(WAYS)}")
    if not limits:
        raise InputError("an allocation without a limit: give mean_bits, max_size or limits")
    if how == "ranking" and losses.sizes["bits"] != 2:
        raise InputError(
            f"a ranking chooses between two widths, not {losses.sizes['bits']}: give two choices, "
            "or use how='exact'"
        )
