"""What an allocation of bit-widths costs: bits a weight, bytes, bit operations, measured time."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from ltqlib.errors import InputError

ByLayer = Mapping[str, float] | xr.DataArray  # {layer: value}, or an array with the dimension layer
Bits = ByLayer | float  # bits of each layer, or the same of all


def average_weight_bits(widths: Bits, parameters: ByLayer | None = None) -> Any:
    """Bits a weight, averaged over all weights.

    Args:
        widths: weight bits, ``{layer: bits}`` or (..., layer); a number is that of every layer.
        parameters: weights of each layer; left out, the coordinate that ``widths`` carries.

    Returns:
        a float, or an array over the other dimensions of ``widths``.

    Raises:
        InputError: the two name different layers.
    """
    counts = _counts(widths, parameters, "parameters")
    return _plain((_of(widths, counts) * counts).sum("layer") / counts.sum("layer"))


def model_size(widths: Bits, parameters: ByLayer | None = None) -> Any:
    """Bytes of the quantized weights (scales and biases not counted); as for the average bits."""
    counts = _counts(widths, parameters, "parameters")
    return _plain((_of(widths, counts) * counts).sum("layer") / 8)


def bops(widths: Bits, macs: ByLayer | None = None, act_bits: Bits = 8) -> Any:
    """Bit operations of one image: the sum of ``weight_bits * act_bits * MACs`` over layers.

    Baskin et al. (2021) in the form that HAWQ-V3 uses; float32 counts as 32 bits.

    Args:
        widths, macs: weight bits and multiply-adds of one image, as for the average bits.
        act_bits: bits of the layers' inputs.

    Raises:
        InputError: they name different layers.
    """
    counts = _counts(widths, macs, "macs")
    return _plain((_of(widths, counts) * _of(act_bits, counts) * counts).sum("layer").astype(float))


@dataclass(frozen=True, eq=False)
class Limit:
    """An upper limit on a cost that is a sum over layers.

    Args:
        name: what messages call it, with its unit.
        costs: what a layer costs at a width, (layer, bits) with both coordinates, or
            ``{layer: {bits: cost}}``, for instance milliseconds as measured layer by layer.
        limit: in the unit of ``costs``; infinity means that the cost is only reported.

    Raises:
        InputError: the costs have other dimensions, a value is missing or not finite, or there is
            no limit.
    """

    name: str
    costs: xr.DataArray
    limit: float

    def __post_init__(self) -> None:
        costs = self.costs
        if not isinstance(costs, xr.DataArray):
            costs = xr.DataArray(pd.DataFrame(costs).T, dims=("layer", "bits"))
        if set(costs.dims) != {"layer", "bits"} or len(costs.coords) < 2:
            raise InputError(
                f"the costs of {self.name} have dimensions {', '.join(map(str, costs.dims))}: give "
                "layer and bits, with their coordinates"
            )
        costs = costs.transpose("layer", "bits").astype(float)
        if not np.isfinite(costs).all():
            layer, bits = np.argwhere(~np.isfinite(costs.values))[0]
            raise InputError(
                f"the {self.name} of {costs.layer.values[layer]} at {costs.bits.values[bits]} bits "
                "is not a finite number: measure it"
            )
        if not isinstance(self.limit, Real) or math.isnan(self.limit):
            raise InputError(f"the limit of {self.name} is not a number: give one")
        object.__setattr__(self, "costs", costs)

    @classmethod
    def average_weight_bits(cls, parameters: ByLayer, bits: Sequence[int], limit: float) -> "Limit":
        """Bits a weight over all layers; see :func:`average_weight_bits`."""
        counts = by_layer(parameters)
        return cls("average weight bits", counts / counts.sum() * _row(bits), limit)

    @classmethod
    def model_size(cls, parameters: ByLayer, bits: Sequence[int], limit: float) -> "Limit":
        """Bytes of the quantized weights; see :func:`model_size`."""
        return cls("model size in bytes", by_layer(parameters) * _row(bits) / 8, limit)

    def table(self, losses: xr.DataArray) -> npt.NDArray[np.float64]:
        """The costs (layers, widths) in the order of some losses (..., layer, bits).

        Raises:
            InputError: the costs are of other layers, or lack a width.
        """
        _check_layers(self.costs, losses, f"the costs of {self.name}", "the losses")
        if missing := sorted(set(losses.bits.values.tolist()) - set(self.costs.bits.values)):
            raise InputError(
                f"the costs of {self.name} have no {missing[0]} bits: give them, or leave that "
                "width out"
            )
        return np.asarray(self.costs.sel(layer=losses.layer, bits=losses.bits).values)

    def cost(self, widths: ByLayer) -> float:
        """What ``{layer: bits}`` costs, in the unit of the limit."""
        chosen = by_layer(widths)
        return float(self.costs.sel(layer=chosen.layer, bits=chosen).sum())


def by_layer(values: ByLayer) -> xr.DataArray:
    """``{layer: value}`` as an array over the dimension ``layer``; an array as it is."""
    if isinstance(values, xr.DataArray):
        return values
    return xr.DataArray(list(values.values()), {"layer": list(values)}, ["layer"])


def _counts(widths: Bits, given: ByLayer | None, name: str) -> xr.DataArray:
    if given is not None:
        return by_layer(given)
    if isinstance(widths, xr.DataArray) and name in widths.coords:
        return widths[name]
    raise InputError(f"the {name} of the layers are not known: give {{layer: {name}}}")


def _of(values: Bits, counts: xr.DataArray) -> Any:
    """``values`` in the order of the layers of ``counts``; a number stays one."""
    if isinstance(values, (int, float)):
        return values
    found = by_layer(values)
    _check_layers(found, counts, "the bits", "the costs")
    return found.sel(layer=counts.layer)


def _check_layers(one: xr.DataArray, other: xr.DataArray, first: str, second: str) -> None:
    differ = sorted(set(one.layer.values.tolist()) ^ set(other.layer.values.tolist()))
    if differ:
        raise InputError(
            f"{first} and {second} name different layers: {differ[0]} is missing in one of them, "
            "give it in both"
        )


def _row(bits: Sequence[int]) -> xr.DataArray:
    return xr.DataArray(np.array(bits, dtype=float), {"bits": list(bits)}, ["bits"])


def _plain(value: xr.DataArray) -> Any:
    return value if value.ndim else float(value)
