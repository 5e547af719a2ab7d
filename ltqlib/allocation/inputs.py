"""What :func:`ltqlib.allocation.allocate` is given: as losses, an objective and limits."""

from collections.abc import Sequence
from numbers import Integral

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
    alone: Alone, minimize: Minimize, choices: Sequence[int], how: str
) -> tuple[xr.DataArray, Objective]:
    """Losses (..., class, layer, bits) at the choices, with costs by layer, and the objective.

    A ranking looks at the fewest bits alone: the other choices are there if they were measured.
    """
    if isinstance(minimize, str) and minimize == "curve" and isinstance(alone, xr.Dataset):
        minimize = curve_losses(alone)
    if isinstance(minimize, xr.DataArray):
        losses = class_losses(minimize.expand_dims({"class": [0]}))
        known = {n: alone[n] for n in COSTS if n in alone.coords}
        losses, objective = losses.assign_coords(known), Objective.mean()
    else:
        losses = class_losses(alone)
        objective = _objective(minimize, losses)
    measured = losses.bits.values.tolist()
    needed = {min(choices)} if how == "ranking" else set(choices)
    if missing := sorted(needed - set(measured)):
        raise InputError(
            f"no layer was measured alone at {missing[0]} bits: measure that width, or choose from "
            f"{', '.join(map(str, measured))}"
        )
    return losses.sel(bits=sorted(set(choices) & set(measured), reverse=True)), objective


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


def limits_of(
    losses: xr.DataArray, choices: Sequence[int], mean_bits: float | None, max_size: float | None
) -> list[Limit]:
    """The limits that are given, over the layers of the losses and the widths to choose from."""
    kinds = ((mean_bits, Limit.average_weight_bits), (max_size, Limit.model_size))
    given = [(most, make) for most, make in kinds if most is not None]
    if given and "parameters" not in losses.coords:
        raise InputError("the parameters of the layers are not known: assign them as a coordinate")
    return [
        make(losses["parameters"].reset_coords(drop=True), choices, most) for most, make in given
    ]


def widths_of(choices: Sequence[int], how: str) -> list[int]:
    """The widths to choose from, the most bits first; refuses what the way ``how`` cannot do."""
    if how not in WAYS:
        raise InputError(f"how={how!r} is unknown: use one of {', '.join(WAYS)}")
    widths = sorted(set(choices), reverse=True)
    if how == "ranking" and len(widths) != 2:
        raise InputError(
            f"a ranking chooses between two widths, not {len(widths)}: give two choices, or use "
            "how='exact'"
        )
    if not widths or not all(isinstance(width, Integral) and width > 0 for width in widths):
        raise InputError(f"choices={choices!r}: give whole numbers of bits, such as (6, 4)")
    return widths
