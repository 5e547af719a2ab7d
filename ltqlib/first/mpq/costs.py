"""What an allocation of widths costs: weight bits, bytes, bit operations, measured time."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ltqlib.first.errors import InputError


def average_weight_bits(widths: Mapping[str, int], parameters: Mapping[str, int]) -> float:
    """Bits a weight, averaged over all weights of the layers."""
    total = sum(parameters.values())
    return sum(widths[name] * count for name, count in parameters.items()) / total


def model_size(widths: Mapping[str, float], parameters: Mapping[str, int]) -> float:
    """Bytes of the quantized weights (scales and biases not counted)."""
    return sum(widths[name] * count for name, count in parameters.items()) / 8


def bops(widths: Mapping[str, int], act_bits: Mapping[str, int], macs: Mapping[str, int]) -> float:
    """Bit operations of one image: the sum of ``weight_bits * act_bits * MACs`` over layers.

    Baskin et al. (2021) in the form that HAWQ-v3 uses; float32 counts as 32 bits.
    """
    return float(sum(widths[name] * act_bits[name] * count for name, count in macs.items()))


@dataclass(frozen=True, eq=False)
class Budget:
    """An upper limit on a cost that is a sum over layers.

    Args:
        name: what messages call it, with its unit.
        layers: names of the layers, in the order of the sensitivity.
        widths: weight bits, in the order of the columns.
        costs: (layers, widths), what a layer costs at a width.
        limit: in the unit of ``costs``; infinity means that the cost is only reported.

    Raises:
        InputError: the table has another shape or a value that is not finite, or no limit.
    """

    name: str
    layers: tuple[str, ...]
    widths: tuple[int, ...]
    costs: npt.NDArray[np.float64]
    limit: float

    def __post_init__(self) -> None:
        shape = (len(self.layers), len(self.widths))
        if self.costs.shape != shape:
            raise InputError(
                f"the costs of {self.name} have shape {self.costs.shape}: give one value for each "
                f"of the layers and widths, {shape}"
            )
        if not np.isfinite(self.costs).all():
            layer, width = np.argwhere(~np.isfinite(self.costs))[0]
            raise InputError(
                f"the {self.name} of {self.layers[layer]} at {self.widths[width]} bits is not a "
                "finite number: measure it again"
            )
        if math.isnan(self.limit):
            raise InputError(f"the limit of {self.name} is not a number: give one")

    @classmethod
    def average_weight_bits(
        cls, parameters: Mapping[str, int], widths: tuple[int, ...], limit: float
    ) -> "Budget":
        """Bits a weight over all layers; see :func:`average_weight_bits`."""
        share = _column(parameters) / sum(parameters.values())
        return cls("average weight bits", tuple(parameters), widths, share * _row(widths), limit)

    @classmethod
    def model_size(
        cls, parameters: Mapping[str, int], widths: tuple[int, ...], limit: float
    ) -> "Budget":
        """Bytes of the quantized weights; see :func:`model_size`."""
        costs = _column(parameters) * _row(widths) / 8
        return cls("model size in bytes", tuple(parameters), widths, costs, limit)

    @classmethod
    def bops(
        cls,
        act_bits: Mapping[str, int],
        macs: Mapping[str, int],
        widths: tuple[int, ...],
        limit: float,
    ) -> "Budget":
        """Bit operations of one image at given activation bits; see :func:`bops`.

        Raises:
            InputError: the activation bits and the MACs do not name the same layers.
        """
        if set(act_bits) != set(macs):
            raise InputError("act_bits and macs name different layers: give both for every layer")
        products = {name: act_bits[name] * count for name, count in macs.items()}
        return cls("BOPs", tuple(macs), widths, _column(products) * _row(widths), limit)

    @classmethod
    def latency(
        cls, measured: Mapping[str, Mapping[int, float]], widths: tuple[int, ...], limit: float
    ) -> "Budget":
        """Milliseconds as measured layer by layer, ``measured[layer][bits]``.

        Raises:
            InputError: a layer was not measured at one of the widths.
        """
        for layer, times in measured.items():
            if missing := [bits for bits in widths if bits not in times]:
                raise InputError(
                    f"the latency of {layer} at {missing[0]} bits is missing: measure it, or leave "
                    "that width out"
                )
        costs = np.array([[float(times[b]) for b in widths] for times in measured.values()])
        return cls("latency in ms", tuple(measured), widths, costs, limit)

    def check_matches(self, layers: tuple[str, ...], widths: tuple[int, ...]) -> None:
        """Compare with the layers and widths of a sensitivity.

        Raises:
            InputError: they differ, or stand in another order.
        """
        for what, mine, theirs in (
            ("layers", self.layers, layers),
            ("widths", self.widths, widths),
        ):
            if mine != theirs:
                raise InputError(
                    f"the {what} of the budget {self.name!r} are {_listed(mine)}, those of the "
                    f"sensitivity {_listed(theirs)}: give both the same, in the same order"
                )

    def cost(self, allocation: Mapping[str, int]) -> float:
        """What ``{layer: bits}`` costs, in the unit of the limit."""
        chosen = [self.widths.index(allocation[name]) for name in self.layers]
        return float(self.costs[np.arange(len(chosen)), chosen].sum())


def _column(of_layers: Mapping[str, float]) -> npt.NDArray[np.float64]:
    return np.array(list(of_layers.values()), dtype=np.float64)[:, None]


def _row(widths: tuple[int, ...]) -> npt.NDArray[np.float64]:
    return np.array(widths, dtype=np.float64)[None]


def _listed(values: tuple[object, ...]) -> str:
    shown = [str(value) for value in values]
    return ", ".join(shown if len(shown) <= 8 else [*shown[:3], "...", *shown[-3:]])
