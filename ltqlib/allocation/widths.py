"""Bit-widths of layers as a labelled array that prints as a table."""

from collections.abc import Mapping

import pandas as pd
import xarray as xr

from ltqlib.allocation.costs import average_weight_bits

WIDE = 160  # characters of a printed line


class Widths(xr.DataArray):
    """Weight bits of every layer, (..., layer): an ``xarray.DataArray`` of whole numbers.

    Coordinates, where they are known: ``parameters`` and ``macs`` of the layers, ``mean_bits``
    (bits a weight, averaged over all weights) and ``predicted`` (what the sum of the layers' losses
    says of the objective, in its unit). It prints as a table, one row a configuration.
    """

    __slots__ = ()

    @classmethod
    def of(cls, bits: xr.DataArray | Mapping[str, int]) -> "Widths":
        """``{layer: bits}`` or an array (..., layer) as widths."""
        if not isinstance(bits, xr.DataArray):
            bits = xr.DataArray(list(bits.values()), {"layer": list(bits)}, ["layer"])
        found = cls(bits.transpose(..., "layer").rename("weight_bits"))
        if "parameters" in found.coords:
            found = found.assign_coords(mean_bits=average_weight_bits(found))
        return found

    def table(self) -> pd.DataFrame:
        """One row a configuration: its layers' bits, then the coordinates of the configuration."""
        rest = [name for name in self.dims if name != "layer"]
        flat = xr.DataArray(self).transpose(*rest, "layer")
        extra = [n for n, c in self.coords.items() if "layer" not in c.dims and n not in rest]
        if not rest:
            flat = flat.expand_dims(weights=["bits"])
            rest = ["weights"]
        flat = flat.stack(row=rest) if len(rest) > 1 else flat.rename({rest[0]: "row"})
        frame = pd.DataFrame(
            flat.transpose("row", "layer").values,
            index=flat.get_index("row").set_names(rest),
            columns=pd.Index(flat.layer.values, name="layer"),
        )
        for name in extra:
            frame[name] = flat[name].broadcast_like(flat["row"]).values
        return frame

    def __repr__(self) -> str:
        return self._shown("__repr__") if "layer" in self.dims else super().__repr__()

    def _repr_html_(self) -> str:
        return self._shown("_repr_html_") if "layer" in self.dims else super()._repr_html_()

    def _shown(self, how: str) -> str:
        """The table with every layer; of many configurations the first and the last."""
        with pd.option_context("display.max_columns", None, "display.width", WIDE):
            return str(getattr(self.table().round(2), how)())
