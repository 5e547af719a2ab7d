"""Which images a step sees: the batches of a configuration, and a sampler that changes late."""

import math
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor

from ltqlib.config import RunConfig
from ltqlib.data import Images, Labels
from ltqlib.data.batches import Batches
from ltqlib.training.losses import DEFERRED_START


class Source(Protocol):
    """What the loop reads: so many batches an epoch, drawn from the epoch's number alone."""

    def __len__(self) -> int: ...

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Any]]:
        """Images (B, 3, H, W) in 0..255 and labels, batch after batch."""
        ...


def make_batches(
    config: RunConfig, images: Images, labels: Labels, sampler: str, seed: int, device: torch.device
) -> Batches:
    """Training batches as ``config`` says, with a sampler and seed of the caller's."""
    return Batches(
        images,
        labels,
        batch_size=min(config.batch_size, len(labels)),
        sampler=sampler,
        augment=config.augment,
        seed=seed,
        device=device,
    )


class Deferred:
    """One sampler for the first passes, another from 80 % of them on.

    With class-balanced sampling late it is deferred re-sampling (DRS; Cao et al., 2019, section
    3.3): the network learns from all images first, and balances the classes at small rates.
    """

    def __init__(self, early: Source, late: Source, epochs: int) -> None:
        self.early, self.late, self.start = early, late, math.ceil(DEFERRED_START * epochs)

    def __len__(self) -> int:
        return len(self.early)

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Any]]:
        """The batches of one epoch, of whichever sampler it belongs to."""
        return (self.late if epoch >= self.start else self.early).epoch(epoch)
