"""Bias correction: what rounding does to the mean of a layer's output is taken back.

Rounding the weights of a layer moves the mean of its output. Nagel et al. (ICCV 2019, "Data-free
quantization through weight equalization and bias correction", section 4.2) take the shift out of
the bias; with images to measure it on (their appendix D), layer by layer in the order of
execution, ::

    b  <-  b - (E[y~] - E[y]),

channel by channel, where ``y`` is the layer's output before the activation in the float model and
``y~`` the one in the quantized model whose earlier layers are rounded and corrected already. Layers
that stay float are not corrected; a layer without a bias gets one; tied weights that act at several
sites have one correction a site.

A layer's correction depends on the bits of all layers before it, so the method is **not local**.
Weights are rounded to nearest, on one grid a tensor (``corrected-tensor``) or one an output channel
(``corrected-channel``). All calibration images are computed as one batch, so that one pass corrects
all layers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from ltqlib.errors import InputError
from ltqlib.quantization.methods import register
from ltqlib.quantization.methods.round_to_nearest import RoundToNearest
from ltqlib.quantization.quantized import Quantized
from ltqlib.quantization.sites import behind_sites, channel_dim
from ltqlib.quantization.types import widths_of

if TYPE_CHECKING:
    from ltqlib.models.graph import Graph


@dataclass(frozen=True)
class BiasCorrection:
    """See the module; ``rounding`` makes the weights."""

    name: str
    rounding: RoundToNearest
    local: ClassVar[bool] = False
    activations: ClassVar[bool] = False
    calibrated: ClassVar[bool] = True

    @torch.no_grad()
    def quantize(
        self,
        graph: "Graph",
        widths: Mapping[str, int],
        calibration: Any = None,
        labels: Any = None,
        budget: float | None = None,
    ) -> Quantized:
        """The layers of ``widths`` rounded and corrected; see :class:`~..methods.Method`.

        Raises:
            InputError: an unknown layer, bits outside 2..8, no calibration images.
        """
        if calibration is None:
            raise InputError(
                f"method {self.name!r} needs calibration images: give calibration=<images>"
            )
        widths = widths_of(widths, graph.layers)
        variants = {n: self.rounding.variant(graph, n, bits) for n, bits in widths.items()}
        sites = [site for name in widths for site in graph.layers[name].sites]
        wanted = {site: ChannelMean(channel_dim(graph, site)) for site in sites}
        pixels = graph.pixels(calibration)
        behind_sites(graph.module(), wanted)(pixels)
        fixed = {site: ChannelMean(channel_dim(graph, site), wanted[site].mean) for site in sites}
        behind_sites(Quantized(graph, variants).model, fixed)(pixels)
        return Quantized(graph, variants, self.name, {s: m.shift for s, m in fixed.items()})


class ChannelMean(nn.Module):
    """Measures the mean of each channel of an output, and makes it ``target`` if one is given."""

    mean: Tensor
    shift: Tensor

    def __init__(self, dim: int, target: Tensor | None = None) -> None:
        super().__init__()
        self.dim, self.target = dim, target

    def forward(self, y: Tensor) -> Tensor:
        """Shape of ``y``."""
        channels_last = y.movedim(self.dim, -1)
        self.mean = channels_last.flatten(0, -2).mean(0)
        if self.target is None:
            return y
        self.shift = self.target - self.mean
        return (channels_last + self.shift).movedim(-1, self.dim)


register(BiasCorrection("corrected-tensor", RoundToNearest("w-tensor")))
register(BiasCorrection("corrected-channel", RoundToNearest("w-channel", weight_per_channel=True)))
