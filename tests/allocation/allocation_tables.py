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
    layers, known = losses.layer.values.tolist(), losses.bits.values.tolist()
    each = [losses.values[:, layers.index(n), known.index(b)] for n, b in widths.items()]
    return np.sum(each, axis=0)


def spent(one: Limit, widths: dict[str, int]) -> float:
    """What an allocation costs, layer after layer."""
    layers, known = one.costs.layer.values.tolist(), one.costs.bits.values.tolist()
    return sum(float(one.costs.values[layers.index(n), known.index(b)]) for n, b in widths.items())
