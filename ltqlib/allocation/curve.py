"""What one layer alone costs the tail at equal head accuracy, as losses to allocate by."""

import numpy as np
import xarray as xr

from ltqlib.allocation.losses import FLOAT
from ltqlib.errors import InputError
from ltqlib.statistics import tail_at_equal_head
from ltqlib.statistics.curve import NEEDED


def curve_losses(alone: xr.Dataset) -> xr.DataArray:
    """Points of tail accuracy lost at the float model's head accuracy, with one layer alone.

    Offsets are chosen on every second image of each class and judged on the others, then the two
    swap: whoever allocates on one half of the test images sees nothing of the other half. Where
    not even the offset most favourable to the head gives the float model's head accuracy, nothing
    of the tail is left: the loss is all of the float model's tail accuracy.

    Args:
        alone: what :func:`ltqlib.sensitivity` returns, 32 bits among its widths, with
            ``best_head``, ``best_tail`` and ``margin`` of each image.

    Returns:
        (..., layer, bits).

    Raises:
        InputError: one of these, or a group, is missing.
    """
    if missing := [name for name in NEEDED if name not in alone]:
        raise InputError(
            f"the sensitivity has no {missing[0]}, which losses at equal head accuracy need: "
            "measure it with margins, or give the losses as an array (layer, bits)"
        )
    if "bits" not in alone.dims or FLOAT not in alone.bits.values:
        raise InputError("the sensitivity has no 32 bits: measure it with bits=[32, ...]")
    alone = alone.assign_coords(half=("image", _alternating(alone["label"].values)))
    if "seed" not in alone.dims:
        return _lost(alone)
    # one by one: a seed out of reach says nothing of the others
    each = [_lost(alone.isel(seed=[number])) for number in range(alone.sizes["seed"])]
    return xr.concat(each, "seed")


def _lost(alone: xr.Dataset) -> xr.DataArray:
    labels = alone["label"].values
    weights = xr.DataArray(1 / np.bincount(labels)[labels], dims="image")
    each = tail_at_equal_head(alone, {"bits": FLOAT})
    left = 100 * each.weighted(weights).mean("image", skipna=False)
    return (left.sel(bits=FLOAT, drop=True) - left.fillna(0)).transpose(..., "layer", "bits")


def _alternating(labels: np.ndarray) -> np.ndarray:
    """Two names in turn, class by class, (N,)."""
    halves = np.empty(len(labels), dtype="U6")
    for label in np.unique(labels):
        images = np.flatnonzero(labels == label)
        halves[images] = np.where(np.arange(len(images)) % 2, "judge", "choose")
    return halves
