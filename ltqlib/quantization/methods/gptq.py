"""GPTQ: weights are rounded one after the other, and those that are left make up for the error.

For a layer with weight rows ``w`` and inputs ``X``, GPTQ (Frantar et al., ICLR 2023, "GPTQ:
accurate post-training quantization for generative pre-trained transformers", section 3 and
algorithm 1) lowers ``||Q(w) X - w X||**2``, whose Hessian is ``H = 2 X X^T``. With ``U`` the upper
Cholesky factor of the inverse of ``H`` (damped by 1 % of its mean diagonal), it rounds column after
column of the weights and corrects the columns ``j`` that are left ::

    w_j  <-  w_j - (w_k - Q(w_k)) * U[k, j] / U[k, k]            (eq. 2 and 3)

Grids are those of round to nearest (min-max), one a tensor (``gptq-tensor``) or one an output
channel (``gptq-channel``), so that only the rounding differs. A convolution is a linear map of the
patches of its input, each group of channels with patches of its own. Inputs are those of the
**float** model: a layer's form depends on its own bits alone, so the method is local. (The paper
takes the inputs of the model whose earlier layers are quantized already.)
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx

from ltqlib.errors import InputError
from ltqlib.models.layers import argument
from ltqlib.quantization.grids import QParams, dequantize, quantize
from ltqlib.quantization.methods import LocalMethod, register
from ltqlib.quantization.methods.round_to_nearest import RoundToNearest
from ltqlib.quantization.sites import apply_site
from ltqlib.quantization.types import QTensor, Variant

if TYPE_CHECKING:
    from ltqlib.models.graph import Graph

DAMPING = 0.01  # of the mean diagonal of H, as in the paper
BLOCK = 128  # columns that correct one another at once; those behind them follow (algorithm 1)
BATCH = 16  # images at a time: all patches of a batch are held at once
MOST_INPUTS = 16_384  # of an output channel: its second moments are then 1 GiB


@dataclass(frozen=True)
class GPTQ(LocalMethod):
    """See the module; ``grids`` chooses the grid that the weights are rounded to."""

    name: str
    grids: RoundToNearest

    @property
    def calibrated(self) -> bool:
        """It needs the inputs of the layers."""
        return True

    @torch.no_grad()
    def calibrate(self, graph: "Graph", images: Any) -> dict[str, Tensor]:
        """``X X^T`` of each layer's input patches over the images, (groups, K, K), K inputs.

        Layers with more than 16,384 inputs an output are left out.
        """
        found: dict[str, Tensor] = {}

        def adder(name: str) -> Callable[[Tensor], Tensor]:
            site = graph.node(graph.layers[name].sites[0])  # the map is the same at every site

            def add(x: Tensor) -> Tensor:
                with torch.enable_grad():
                    part = second_moment(site, x.detach(), graph.layers[name].weight_shape)
                found[name] = found[name] + part if name in found else part
                return x

            return add

        few = [n for n, x in graph.layers.items() if math.prod(x.weight_shape[1:]) <= MOST_INPUTS]
        module = graph.module(inputs={name: adder(name) for name in few})
        for pixels in graph.batches(images, BATCH):
            module(pixels)
        return found

    def variant(
        self, graph: "Graph", layer: str, bits: int, sample: Tensor | None = None
    ) -> Variant:
        """The layer rounded with ``sample``, its (groups, K, K) of :meth:`calibrate`."""
        weight = graph.weight(layer)
        grid = self.grids.weight_qparams(weight, bits)
        if sample is None and math.prod(weight.shape[1:]) > MOST_INPUTS:
            raise InputError(
                f"layer {layer!r} has {math.prod(weight.shape[1:]):,} inputs, {self.name!r} takes "
                f"{MOST_INPUTS:,}: leave the layer float or use another method"
            )
        if sample is None:
            raise InputError(
                f"layer {layer!r} cannot be rounded by {self.name!r} without calibration images: "
                f"give calibration=<images>"
            )
        return Variant(QTensor.of(round_columns(weight, grid, sample), grid))


def second_moment(site: fx.Node, x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """``X X^T`` of the patches that a layer's operator multiplies with its weight.

    The operator is linear in its weight, so this is the gradient of ``||op(x, W)||**2 / 2`` at the
    W whose outputs are the patches themselves: no kind of convolution has to be unrolled by hand.

    Args:
        site: where the layer's weight is used.
        x: the input there, (B, ...).
        shape: of the layer's weight, (C_out, C_in / groups, ...).

    Returns:
        (groups, K, K), K the number of values in an output channel's weight.
    """
    groups, inputs = argument(site, "groups") or 1, math.prod(shape[1:])
    weight = torch.eye(inputs, device=x.device).reshape(inputs, *shape[1:])
    weight = weight.repeat(groups, *[1] * (len(shape) - 1)).requires_grad_()
    patches = apply_site(site, x, weight)
    (moment,) = torch.autograd.grad(patches.square().sum() / 2, weight)
    return moment.reshape(groups, inputs, inputs)


def round_columns(weight: Tensor, grid: QParams, moment: Tensor) -> Tensor:
    """Integers of a weight (C_out, ...), int32, rounded in the order of its columns.

    Args:
        grid: that the weight is rounded to.
        moment: ``X X^T`` (groups, K, K) of the inputs.
    """
    groups, inputs, _ = moment.shape
    rows = weight.reshape(groups, -1, inputs).double()
    factor = inverse_factor(moment.double())
    columns = []
    for start in range(0, inputs, BLOCK):
        stop = min(start + BLOCK, inputs)
        errors = []
        for k in range(start, stop):
            column = rows[:, :, k].reshape(-1)
            columns.append(quantize(column, grid))
            error = (column - dequantize(columns[-1], grid)).reshape(groups, -1, 1)
            errors.append(error / factor[:, None, k, k, None])
            rows[:, :, k + 1 : stop] -= errors[-1] * factor[:, None, k, k + 1 : stop]
        rows[:, :, stop:] -= torch.cat(errors, 2) @ factor[:, start:stop, stop:]
    return torch.stack(columns, 1).reshape(weight.shape)


def inverse_factor(moment: Tensor) -> Tensor:
    """Upper Cholesky factor (groups, K, K) of the inverse of the damped ``X X^T``.

    An input that is always zero gets a one on the diagonal: its weight is rounded to nearest.
    """
    diagonal = moment.diagonal(dim1=1, dim2=2)
    damping = DAMPING * diagonal.mean(1, keepdim=True)
    damped = moment + torch.diag_embed(damping + (diagonal == 0))
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    return torch.linalg.cholesky(inverse, upper=True)


register(GPTQ("gptq-tensor", RoundToNearest("w-tensor")))
register(GPTQ("gptq-channel", RoundToNearest("w-channel", weight_per_channel=True)))
