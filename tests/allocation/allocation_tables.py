"""Small labelled tables that the tests of allocations share."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from ltqlib.allocation import Limit


def table(losses: np.ndarray, layers: Sequence[str], bits: Sequence[int]) -> xr.DataArray:
    """Losses (classes, layers, widths) as a labelled array."""
    coords = {"class": range(len(losses)), "layer": list(layers), "bits": list(bits)}
    return xr.DataArray(losses, coords, ["class", "layer", "bits"])


def limit(
    name: str, layers: Sequence[str], bits: Sequence[int], costs: np.ndarray, most: float
) -> Limit:
    """A limit on costs (layers, widths)."""
    coords = {"layer": list(layers), "bits": list(bits)}
    return Limit(name, xr.DataArray(costs, coords, ["layer", "bits"]), most)


def predicted(losses: xr.DataArray, widths: dict[str, int]) -> np.ndarray:
    """The sum of the losses of each class, layer after layer (classes,)."""
    return sum(losses.sel(layer=name, bits=bits).values for name, bits in widths.items())
