"""Round to nearest: every value goes to the closest level of its grid.

``q = clamp(round(w / scale) + zero_point, quant_min, quant_max)`` (Jacob et al., CVPR 2018,
"Quantization and training of neural networks for efficient integer-arithmetic-only inference", eq.
1; Krishnamoorthi, 2018, "Quantizing deep convolutional networks for efficient inference: a
whitepaper", section 2). Weights have symmetric grids (zero_point 0, levels ``-(2**(b-1) - 1)`` to
``2**(b-1) - 1``), one a tensor or one an output channel, in linear layers and convolutions alike;
the inputs of layers have one asymmetric grid a tensor (``0 .. 2**b - 1``). The registered forms:

=================  ================================  ==============================
name               weights: grids and range          inputs: range
=================  ================================  ==============================
``w-tensor``       one a tensor, min-max             float
``w-channel``      one a channel, min-max            float
``w-mse``          one a tensor, least squares       float
``wa-tensor``      one a tensor, min-max             min-max
``wa-percentile``  one a channel, min-max            0.1 % to 99.9 %
``wa-mse``         one a channel, least squares      least squares
=================  ================================  ==============================

``w-tensor`` is the primary one (what the post most likely did). Ranges are those of
:mod:`ltqlib.quantization.calibration`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ltqlib.errors import InputError
from ltqlib.quantization.calibration import choose_range
from ltqlib.quantization.grids import QParams, choose_qparams
from ltqlib.quantization.methods import LocalMethod, register
from ltqlib.quantization.types import QTensor, Variant

if TYPE_CHECKING:
    from ltqlib.models.graph import Graph


@dataclass(frozen=True)
class RoundToNearest(LocalMethod):
    """How grids are chosen, for weights and for inputs (which have one grid a tensor)."""

    name: str
    weight_per_channel: bool = False
    weight_symmetric: bool = True
    weight_range: str = "min-max"
    activations: bool = False
    act_symmetric: bool = False
    act_range: str = "min-max"

    def variant(
        self, graph: "Graph", layer: str, bits: int, sample: Tensor | None = None
    ) -> Variant:
        """The layer rounded to ``bits``; ``sample`` (values,) of its input, if quantized."""
        weight = graph.weight(layer)
        grid = self.weight_qparams(weight, bits)
        if not torch.isfinite(weight).all():
            raise InputError(f"the weight of layer {layer!r} has values that are not finite")
        return Variant(QTensor.quantize(weight, grid), self.input_qparams(layer, bits, sample))

    def weight_qparams(self, weight: Tensor, bits: int) -> QParams:
        """The grid of a weight (C_out, ...): scale of shape (C_out,) per channel, else ()."""
        rows = weight.flatten(1) if self.weight_per_channel else weight.reshape(1, -1)
        low, high = choose_range(rows, self.weight_range, bits, self.weight_symmetric)
        if not self.weight_per_channel:
            low, high = low[0], high[0]
        return choose_qparams(low, high, bits, self.weight_symmetric)

    def input_qparams(self, layer: str, bits: int, sample: Tensor | None) -> QParams | None:
        """The per-tensor grid of a layer's input from a sample of its values; None if float."""
        if not self.activations:
            return None
        if sample is None:
            raise InputError(
                f"the input of layer {layer!r} cannot be quantized without calibration images: "
                f"give calibration=<images>"
            )
        low, high = choose_range(sample.reshape(1, -1), self.act_range, bits, self.act_symmetric)
        return choose_qparams(low[0], high[0], bits, self.act_symmetric)


register(RoundToNearest("w-tensor"))
register(RoundToNearest("w-channel", weight_per_channel=True))
register(RoundToNearest("w-mse", weight_range="mse"))
register(RoundToNearest("wa-tensor", activations=True))
register(
    RoundToNearest(
        "wa-percentile", weight_per_channel=True, activations=True, act_range="percentile"
    )
)
register(
    RoundToNearest(
        "wa-mse", weight_per_channel=True, weight_range="mse", activations=True, act_range="mse"
    )
)
