"""mixup: training on combinations of two images and their labels (Zhang et al., 2018)."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ltqlib.training.losses import Loss
from ltqlib.training.samplers import Source


class Pair(NamedTuple):
    """The labels (B,) of both images, and the share of the first in (0, 1)."""

    first: Tensor
    second: Tensor
    share: float


class MixedBatches:
    """Batches in which every image is mixed with another one of its batch.

    ``share * x_i + (1 - share) * x_j`` with one ``share ~ Beta(alpha, alpha)`` and one permutation
    a batch, as in the authors' program. The draw of an epoch depends on ``(seed, epoch)`` alone,
    like that of the batches, so a resumed run sees the same images.
    """

    def __init__(self, batches: Source, alpha: float, seed: int) -> None:
        self.batches, self.alpha, self.seed = batches, alpha, seed

    def __len__(self) -> int:
        return len(self.batches)

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Pair]]:
        """Float images (B, 3, H, W), still in 0..255, and the labels of what is in them."""
        generator = np.random.default_rng([self.seed, epoch])
        for pixels, labels in self.batches.epoch(epoch):
            share = float(generator.beta(self.alpha, self.alpha))
            other = torch.from_numpy(generator.permutation(len(labels))).to(labels.device)
            mixed = torch.lerp(pixels[other].float(), pixels.float(), share)
            yield mixed, Pair(labels, labels[other], share)


def of_pairs(loss: Loss) -> Callable[[Tensor, Pair, float], Tensor]:
    """``share * loss(first label) + (1 - share) * loss(second label)``, of the same logits."""

    def mixed(logits: Tensor, labels: Pair, done: float) -> Tensor:
        first, second = (loss(logits, y, done) for y in (labels.first, labels.second))
        return labels.share * first + (1 - labels.share) * second

    return mixed
