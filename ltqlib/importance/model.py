"""A graph as a function of the weights of its layers, and losses of groups."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from ltqlib.errors import InputError
from ltqlib.models.graph import Graph

Array = npt.NDArray[np.float64]


class Model:
    """A graph whose layers' weights are arguments: gradients flow into them.

    Args:
        graph: the float model.
        images: as ``Graph.pixels`` takes them.
        labels: (N,), classes of the images.
        layers: names of the layers that are asked about; left out, all.
        batch: images at once.

    Raises:
        InputError: an unknown layer or none, or labels that do not fit the images or the classes.
    """

    def __init__(
        self,
        graph: Graph,
        images: Any,
        labels: npt.ArrayLike,
        layers: Sequence[str] | None = None,
        batch: int = 100,
    ) -> None:
        self.graph, self.images, self.batch = graph, images, batch
        self.labels = np.asarray(labels).astype(np.int64)
        self.layers = chosen_layers(graph, layers)
        self.weights = {name: graph.weight(name).detach() for name in self.layers}
        self.module = graph.module()
        if len(self.labels) != len(images):
            raise InputError(f"{len(images)} images have {len(self.labels)} labels: give one each")
        if self.labels.size and not 0 <= self.labels.min() <= self.labels.max() < graph.classes:
            raise InputError(f"labels must be 0 to {graph.classes - 1}, the model's classes")

    def logits(self, weights: Mapping[str, Tensor], pixels: Tensor) -> Tensor:
        """Logits (B, C) with the weights of some layers replaced."""
        held = {self.graph.layers[n].attribute: self.graph.held(n, w) for n, w in weights.items()}
        with sdpa_kernel(SDPBackend.MATH):  # the fused kernels of attention have one derivative
            return functional_call(self.module, held, (pixels,))

    def batches(self, chosen: npt.NDArray | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """(pixels, labels), of all images or of those chosen, in order."""
        at = np.arange(len(self.labels)) if chosen is None else chosen
        for start in range(0, len(at), self.batch):
            part = at[start : start + self.batch]
            labels = torch.from_numpy(self.labels[part]).to(self.graph.device)
            yield self.graph.pixels(self.images[part]), labels

    def losses(self, weights: Mapping[str, Tensor], share: Array) -> Iterator[Tensor]:
        """Batch by batch, the part of ``sum_i share_i * cross-entropy_i``; their sum is the loss.

        Images whose share (N,) is zero are left out.
        """
        mine = np.flatnonzero(share)
        parts = torch.from_numpy(share[mine]).split(self.batch)
        for part, (pixels, targets) in zip(parts, self.batches(mine), strict=True):
            logits = self.logits(weights, pixels)
            losses = F.cross_entropy(logits, targets, reduction="none")
            yield (losses * part.to(losses)).sum()


def chosen_layers(graph: Graph, layers: Sequence[str] | None) -> list[str]:
    """Names of layers, all in order of execution unless ``layers`` says which.

    Raises:
        InputError: no name, or a name that the graph does not have.
    """
    if layers is None:
        return list(graph.layers)
    if not layers:
        raise InputError(f"no layer was chosen: the layers are {', '.join(graph.layers)}")
    return [graph.layer(name).name for name in layers]


def leaves_of(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same weights as leaves that autograd follows."""
    return {name: weight.clone().requires_grad_() for name, weight in weights.items()}
