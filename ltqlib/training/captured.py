"""The gradient of a step as one CUDA graph: launched at once, not kernel by kernel.

A quarter-width VGG16 has more than 200 kernels a step, each of a few microseconds: launched one by
one from Python they keep one CPU core busy and the GPU idle.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ltqlib.training.losses import DEFERRED_START

Gradient = Callable[[Tensor, Any, float], Tensor]

WARM_UP = 3  # steps that run as usual first: libraries allocate what they need


class Captured:
    """``gradient(images, labels, share done)``, replayed as a graph from the fourth step on.

    What is replayed is what ran, on the same memory, so images and labels are copied to where the
    graph reads them, and the parameters' ``grad`` is where it writes. A loss depends on the share
    of the steps done only through deferred weights, which is why the graph is captured anew where
    they begin.
    """

    def __init__(self, gradient: Gradient) -> None:
        self.gradient = gradient
        self.stream = torch.cuda.Stream()
        self.calls, self.late = 0, False
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, pixels: Tensor, labels: Any, done: float) -> Tensor:
        """The loss of the batch; the gradient is in the parameters."""
        self.calls += 1
        if self.calls <= WARM_UP:
            return self._on_stream(pixels, labels, done)
        late = done >= DEFERRED_START
        if self.graph is None or late != self.late:
            self.late = late
            self.graph = self._capture(pixels, labels, done)
        self.pixels.copy_(pixels)
        for kept, new in zip(_parts(self.labels), _parts(labels), strict=True):
            kept.copy_(new) if isinstance(new, Tensor) else kept.fill_(new)
        self.graph.replay()
        return self.loss

    def _on_stream(self, pixels: Tensor, labels: Any, done: float) -> Tensor:
        """As usual, on the stream of the capture: its libraries are set up for one stream each."""
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            value = self.gradient(pixels, labels, done)
        torch.cuda.current_stream().wait_stream(self.stream)
        return value

    def _capture(self, pixels: Tensor, labels: Any, done: float) -> torch.cuda.CUDAGraph:
        self.pixels, self.labels = pixels.clone(), _held(labels, pixels.device)
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        with torch.cuda.graph(graph, stream=self.stream):
            self.loss = self.gradient(self.pixels, self.labels, done)
        return graph


def _parts(labels: Any) -> tuple[Any, ...]:
    """A tensor, or the parts of a pair of mixup: two tensors and a number."""
    return (labels,) if isinstance(labels, Tensor) else tuple(labels)


def _held(labels: Any, device: torch.device) -> Any:
    """A copy of the labels in memory of their own; a number becomes a tensor."""
    if isinstance(labels, Tensor):
        return labels.clone()
    parts = (p.clone() if isinstance(p, Tensor) else torch.zeros((), device=device) for p in labels)
    return type(labels)(*parts)
