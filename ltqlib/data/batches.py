"""Training batches made on the device: crops and flips are tensor indexing on whole batches.

There are no worker processes. ``torch`` is imported only where batches are made.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from ltqlib.data.source import Images, Labels

if TYPE_CHECKING:
    import torch

PAD = 4  # pixels of reflection around an image before a random crop


class Batches:
    """Random training batches, assembled on the device by tensor indexing.

    Yields ``(images, labels)`` with images uint8 ``(B, 3, H, W)`` in channels_last memory. The
    draw of an epoch depends on ``(seed, epoch)`` alone, so a resumed run sees the same batches.
    """

    def __init__(
        self,
        images: Images,
        labels: Labels,
        *,
        batch_size: int,
        sampler: str,
        augment: str,
        seed: int,
        device: "torch.device",
    ) -> None:
        import torch

        self.batch_size, self.sampler, self.augment, self.seed = batch_size, sampler, augment, seed
        pad = ((0, 0), (PAD, PAD), (PAD, PAD), (0, 0))
        padded = np.pad(images, pad, mode="reflect") if augment != "none" else images
        self.images = torch.from_numpy(np.ascontiguousarray(padded)).to(device)
        self.labels = torch.from_numpy(labels).to(device)
        self.size = images.shape[1:3]
        self.weights = sampling_weights(labels, sampler)

    def __len__(self) -> int:
        """Full batches an epoch; the few images left over are left out."""
        return max(1, len(self.labels) // self.batch_size)

    def epoch(self, epoch: int) -> Iterator[tuple["torch.Tensor", "torch.Tensor"]]:
        """The batches of one epoch."""
        import torch

        generator = torch.Generator().manual_seed(self.seed * 100_003 + epoch)
        n = len(self.labels)
        if self.weights is None:
            order = torch.randperm(n, generator=generator)
        else:
            order = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        for step in range(len(self)):
            index = order[step * self.batch_size : (step + 1) * self.batch_size]
            rows, cols = self._windows(len(index), generator)
            index = index.to(self.images.device)
            batch = self.images[index[:, None, None], rows[:, :, None], cols[:, None, :]]
            yield batch.permute(0, 3, 1, 2), self.labels[index]

    def _windows(
        self, n: int, generator: "torch.Generator"
    ) -> tuple["torch.Tensor", "torch.Tensor"]:
        """Row and column indices (n, H) and (n, W) of a random crop; a flip reverses columns."""
        import torch

        height, width = self.size
        rows, cols = torch.arange(height).repeat(n, 1), torch.arange(width).repeat(n, 1)
        if self.augment == "crop-flip":
            flip = torch.randint(0, 2, (n, 1), generator=generator).bool()
            cols = torch.where(flip, width - 1 - cols, cols)
        if self.augment != "none":
            rows = rows + torch.randint(0, 2 * PAD + 1, (n, 1), generator=generator)
            cols = cols + torch.randint(0, 2 * PAD + 1, (n, 1), generator=generator)
        device = self.images.device
        return rows.to(device), cols.to(device)


def in_order(images: Images, batch: int, device: "torch.device") -> Iterator["torch.Tensor"]:
    """Images (N, H, W, 3) in their order, as uint8 ``(B, 3, H, W)`` in channels_last memory."""
    import torch

    for start in range(0, len(images), batch):
        yield torch.from_numpy(images[start : start + batch]).permute(0, 3, 1, 2).to(device)


def sampling_weights(labels: Labels, sampler: str) -> "torch.Tensor | None":
    """Probability weight of each image: None (instance-balanced), n_c**-1 or n_c**-0.5.

    Instance-, class-balanced and square-root sampling of Kang et al. (2020), section 3: the class
    is drawn with probability proportional to n_c**q, q = 1, 0 and 1/2.
    """
    import torch

    if sampler == "instance":
        return None
    power = {"class": -1.0, "square-root": -0.5}[sampler]
    counts = np.bincount(labels).astype(float)
    return torch.from_numpy(counts[labels] ** power)
