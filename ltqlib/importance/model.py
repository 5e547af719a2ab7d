"""A graph as a function of the weights of its layers, and losses of classes."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
import xarray as xr
from torch import Tensor
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from ltqlib.errors import InputError
from ltqlib.models.graph import Graph
from ltqlib.statistics import class_means

Array = npt.NDArray[np.float64]


class Model:
    """A graph whose layers' weights are arguments: gradients flow into them.

    Args:
        graph: the float model.
        images: as ``Graph.pixels`` takes them.
        labels: (N,), classes of the images.
        batch: images at once.

    Raises:
        InputError: no image, or labels that do not fit the images or the classes.
    """

    def __init__(self, graph: Graph, images: Any, labels: npt.ArrayLike, batch: int) -> None:
        self.graph, self.images, self.batch = graph, images, batch
        self.labels = checked_labels(graph, images, labels)
        self.classes = np.unique(self.labels).tolist()
        self.layers = list(graph.layers)
        self.weights = {
            name: graph.weight(name).detach().clone().requires_grad_() for name in graph.layers
        }
        self.leaves = list(self.weights.values())
        self.module = graph.module()

    def loss(self, chosen: npt.NDArray[np.intp], reduction: str = "sum") -> Tensor:
        """Cross-entropy of some images, added up; gradients flow into ``leaves``."""
        layers = self.graph.layers
        held = {layers[n].attribute: self.graph.held(n, w) for n, w in self.weights.items()}
        targets = torch.from_numpy(self.labels[chosen]).to(self.graph.device)
        with sdpa_kernel(SDPBackend.MATH):  # the fused kernels of attention have one derivative
            logits = functional_call(self.module, held, (self.graph.pixels(self.images[chosen]),))
        return F.cross_entropy(logits, targets, reduction=reduction)

    def losses(self, label: int) -> Iterator[Tensor]:
        """Batch by batch, parts whose sum is the mean cross-entropy of a class."""
        members = np.flatnonzero(self.labels == label)
        for start in range(0, len(members), self.batch):
            yield self.loss(members[start : start + self.batch]) / len(members)


def checked_labels(graph: Graph, images: Any, labels: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Labels (N,) as whole numbers, one an image."""
    found = np.asarray(labels).astype(np.int64)
    if not len(images):
        raise InputError("no image was given: sensitivity is measured on images")
    if len(found) != len(images):
        raise InputError(f"{len(images)} images have {len(found)} labels: give one each")
    if not 0 <= found.min() <= found.max() < graph.classes:
        raise InputError(f"labels must be 0 to {graph.classes - 1}, the model's classes")
    return found


def by_class(values: xr.DataArray, labels: npt.ArrayLike | None = None) -> xr.DataArray:
    """Means by class of values (..., image), the class first."""
    if labels is not None:
        values = values.assign_coords(label=("image", np.asarray(labels)))
    return class_means(values).transpose("class", ...)
