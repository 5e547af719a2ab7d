"""Averages of the weights along a training, which are kept instead of the last weights."""

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ltqlib.errors import InputError
from ltqlib.training.samplers import Source

N = TypeVar("N", bound=nn.Module)


class Average:
    """A running average of the parameters of a network, which training does not notice.

    * ``ema``: after every step ``a <- d a + (1 - d) w``, the exponential moving average (Polyak
      and Juditsky, 1992; Tarvainen and Valpola, 2017) with ``d = min(ema, (1 + t) / (10 + t))``
      at step t, so that the initial weights are soon forgotten.
    * ``swa``: the mean of the weights after each of the last passes, a share ``swa`` of all
      (stochastic weight averaging; Izmailov et al., 2018).

    Raises:
        InputError: both at once.
    """

    def __init__(self, network: nn.Module, ema: float, swa: float, epochs: int) -> None:
        if ema and swa:
            raise InputError("ema and swa are two averages of the same weights: use one of them")
        self.ema, self.start = ema, epochs - max(1, round(swa * epochs)) if swa else epochs
        self.weights = [p.detach().clone() for p in network.parameters()]
        self.parameters = list(network.parameters())

    @torch.no_grad()
    def after_step(self, step: int, steps_a_pass: int) -> None:
        """Take in the weights after step ``step``, counted from 0 on."""
        epoch, left = divmod(step + 1, steps_a_pass)
        if self.ema:
            share = 1 - min(self.ema, (1 + step) / (10 + step))
        elif left == 0 and epoch > self.start:
            share = 1 / (epoch - self.start)
        else:
            return
        torch._foreach_lerp_(self.weights, [p.detach() for p in self.parameters], share)

    def state(self) -> dict[str, Tensor]:
        """What a resumed training needs, by name."""
        return {f"average.{i}": weight for i, weight in enumerate(self.weights)}

    @torch.no_grad()
    def load(self, state: dict[str, Tensor]) -> None:
        """Go on from what :meth:`state` gave."""
        for name, weight in self.state().items():
            weight.copy_(state[name])

    def network(self, network: N, batches: Source, epoch: int) -> N:
        """A copy of ``network`` with the averaged weights and BatchNorm statistics of their own.

        The statistics are measured on the images of one pass, drawn as those of training are
        (Izmailov et al., 2018, section 3.2). The copy is in train mode, as the network is.
        """
        averaged = copy.deepcopy(network)
        with torch.no_grad():
            for parameter, weight in zip(averaged.parameters(), self.weights, strict=True):
                parameter.copy_(weight)
        measure_statistics(averaged, batches, epoch)
        return averaged


@torch.no_grad()
def measure_statistics(network: nn.Module, batches: Source, epoch: int) -> None:
    """Set BatchNorm's running statistics to their plain means over the batches of one pass."""
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's word for a plain mean
    for pixels, _ in batches.epoch(epoch):
        network(pixels)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
