"""The graph of any torch classifier: named quantizable layers, folded, with costs.

:meth:`Graph.trace` exports the module with a batch of any size, evaluates what is constant, folds
BatchNorm in float64, names the layers after their modules and finds where the images lie in every
value. What the library does with a network (quantize, sweep, measure), it does with its graph.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from ltqlib.errors import InputError
from ltqlib.models.exact import exact_float32
from ltqlib.models.fold import fold_batchnorm
from ltqlib.models.layers import Layer, as_held, channels_first, find_layers, find_skipped
from ltqlib.models.networks import Network, layer_names
from ltqlib.models.probe import Value, probe, probe_images
from ltqlib.models.trace import Traced, trace


class Graph:
    """A torch classifier in eval mode as a graph with named quantizable layers.

    Attributes:
        layers: by name, in order of execution.
        skipped: weights of two or more dimensions that cannot be quantized, and why.
        classes: number of logits.
        example: one image as the module takes it, (1, ...).
        traced: the ``torch.fx`` graph with its constants.
        values: where the images lie in each value of the graph, and its size.
    """

    def __init__(
        self,
        traced: Traced,
        layers: dict[str, Layer],
        skipped: dict[str, str],
        values: Mapping[fx.Node, Value],
        example: Tensor,
    ) -> None:
        self.traced, self.layers, self.skipped = traced, layers, skipped
        self.values, self.example = values, example
        self.sites = {node: name for name, layer in layers.items() for node in layer.sites}
        self._nodes = {node.name: node for node in traced.graph.nodes}
        self._reference = self.module()
        self.classes = int(self.output.meta["val"].shape[1])

    @classmethod
    def trace(
        cls, module: nn.Module, example: Tensor, names: Mapping[str, str] | None = None
    ) -> "Graph":
        """The graph of a copy of ``module`` in eval mode.

        Args:
            module: takes a batch of images and returns logits (B, classes).
            example: images as the module takes them, (B, ...); only their look matters.
            names: module path -> layer name, where a layer is not to be called by its module.

        Raises:
            InputError: torch.export cannot trace the module with a batch of any size, it does not
                return logits alone, or it does not treat every image by itself.
        """
        example = torch.cat([example, example]) if len(example) == 1 else example
        with torch.no_grad(), exact_float32(example.device):
            traced = trace(module, example)
            fold_batchnorm(traced)
            values = probe(traced, example)
            for name, constant in traced.constants.items():
                if constant.ndim == 4 and constant.is_floating_point():
                    kept = constant.contiguous(memory_format=torch.channels_last)
                    traced.constants[name] = kept
        sizes = {node: value.size for node, value in values.items()}
        layers = find_layers(traced, sizes, names or {})
        skipped = find_skipped(traced, layers, dict(module.named_parameters()))
        graph = cls(traced, layers, skipped, values, example[:1].clone())
        graph._check(module)
        return graph

    def __deepcopy__(self, memo: object) -> "Graph":
        """Itself: nothing changes a graph once it is traced."""
        return self

    @torch.inference_mode()
    def _check(self, module: nn.Module) -> None:
        """Refuse a graph that does not compute what its module does."""
        images = probe_images(self.example)
        was_training = {part: part.training for part in module.modules()}
        with exact_float32(self.device):
            expected = module.eval()(images)
        for part, mode in was_training.items():
            part.training = mode
        distance = float((self.logits(images) - expected).abs().max())
        if not distance <= self.values[self.output].bound:
            raise InputError(
                f"the graph of {type(module).__name__} is off by {distance:.3g} in the logits: the "
                f"model computes something else for other images, or depends on chance"
            )

    @property
    def device(self) -> torch.device:
        """Where the constants are."""
        return self.example.device

    @property
    def output(self) -> fx.Node:
        """The node that computes the logits."""
        return self.traced.graph.output_node().args[0]  # type: ignore[return-value]

    def node(self, name: str) -> fx.Node:
        """A node of the graph by its name (those of a layer are in its ``sites``)."""
        return self._nodes[name]

    def layer(self, name: str) -> Layer:
        """A layer by its name.

        Raises:
            InputError: there is none of this name.
        """
        if name not in self.layers:
            raise InputError(f"there is no layer {name!r}: the layers are {', '.join(self.layers)}")
        return self.layers[name]

    def weight(self, name: str) -> Tensor:
        """The float32 weight of a layer, BatchNorm folded in, (C_out, C_in / groups, ...)."""
        layer = self.layer(name)
        return channels_first(self.node(layer.sites[0]), self.traced.constants[layer.attribute])

    def bias(self, name: str) -> Tensor | None:
        """The bias (C_out,) at the first site of a layer, if it has one."""
        site = self.node(self.layer(name).sites[0])
        return self.traced.constant(site.args[2]) if len(site.args) > 2 else None

    def held(self, name: str, weight: Tensor) -> Tensor:
        """A weight (C_out, C_in / groups, ...) as the layer's operator takes it."""
        return as_held(self.node(self.layer(name).sites[0]), weight)

    def pixels(self, images: Any) -> Tensor:
        """Images as the graph takes them, on its device.

        Args:
            images: uint8 (N, H, W, C) from NumPy, or a tensor (N, ...) as the module takes it.

        Raises:
            InputError: no images, images of another shape than those the graph was traced with, or
                with values that are not finite.
        """
        images = as_tensor(images)
        if not len(images):
            raise InputError("there are no images: give one at least")
        if images.is_floating_point() and not images.isfinite().all():
            raise InputError("images hold values that are not finite: leave these images out")
        if images.shape[1:] != self.example.shape[1:]:
            raise InputError(
                f"images have shape {tuple(images.shape[1:])}, the graph was traced with "
                f"{tuple(self.example.shape[1:])}: resize the images or trace with theirs"
            )
        if self.example.is_floating_point() or not images.is_floating_point():
            return images.to(self.device, self.example.dtype)
        return images.to(self.device)  # pixels that are no whole numbers stay as they are

    def batches(self, images: Any, size: int) -> Iterator[Tensor]:
        """Images in their order, ``size`` at a time, as :meth:`pixels` gives them."""
        for start in range(0, max(len(images), 1), size):
            yield self.pixels(images[start : start + size])

    @torch.inference_mode()
    def logits(self, pixels: Tensor) -> Tensor:
        """Logits (B, classes) in float32: what the module gives, up to rounding."""
        with exact_float32(self.device):
            return self._reference(self.pixels(pixels)).float()

    @torch.inference_mode()
    def sample_inputs(
        self, images: Any, batch: int = 256, values: int = 20_000
    ) -> dict[str, Tensor]:
        """A sample of the values that enter each layer, (values,), to choose grids from.

        A fixed stride through the values, so that the same images give the same grids; the
        smallest and the largest value of every batch are in it, so that min-max stays exact.

        Args:
            images: as :meth:`pixels` takes them.
            batch: images that are computed together.
            values: how many to keep a layer, about.
        """
        share = values // max(1, -(-len(images) // batch))
        kept: dict[str, list[Tensor]] = {name: [] for name in self.layers}

        def keeper(name: str) -> Callable[[Tensor], Tensor]:
            def keep(x: Tensor) -> Tensor:
                kept[name].append(_sampled(x, share))
                return x

            return keep

        module = self.module(inputs={name: keeper(name) for name in self.layers})
        with exact_float32(self.device):
            for pixels in self.batches(images, batch):
                module(pixels)
        return {name: torch.cat(parts) for name, parts in kept.items()}

    def module(
        self,
        weights: Mapping[str, Tensor] | None = None,
        inputs: Mapping[str, Callable[[Tensor], Tensor]] | None = None,
    ) -> fx.GraphModule:
        """The plain way: a module with some weights replaced and some layers' inputs changed.

        Args:
            weights: layer -> (C_out, C_in / groups, ...); gradients flow into them.
            inputs: layer -> what its input goes through, at every site.

        Raises:
            InputError: a layer that is not there.
        """
        held: dict[str, Any] = dict(self.traced.constants)
        for name, weight in (weights or {}).items():
            held[self.layer(name).attribute] = self.held(name, weight)
        graph = fx.Graph()
        copies: dict[fx.Node, fx.Node] = {}
        result = graph.graph_copy(self.traced.graph, copies)
        graph.output(result)
        for number, (name, change) in enumerate((inputs or {}).items()):
            held[f"inputs_{number}"] = change if isinstance(change, nn.Module) else _Apply(change)
            for site in self.layer(name).sites:
                node = copies[self.node(site)]
                with graph.inserting_before(node):
                    changed = graph.call_module(f"inputs_{number}", (node.args[0],))
                node.args = (changed, *node.args[1:])
        return fx.GraphModule(held, graph).eval()


def as_tensor(images: Any) -> Tensor:
    """Images (N, H, W, C) from NumPy as (N, C, H, W) in channels_last memory; tensors as is."""
    if not isinstance(images, np.ndarray):
        return images
    tensor = torch.from_numpy(images)
    return tensor.permute(0, 3, 1, 2) if tensor.ndim == 4 else tensor


class _Apply(nn.Module):
    """A callable as a module."""

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.change = change

    def forward(self, x: Tensor) -> Tensor:
        return self.change(x)


def _sampled(x: Tensor, share: int) -> Tensor:
    """About ``share`` values at a fixed stride, and the smallest and the largest."""
    values = x.reshape(-1)
    stride = max(1, values.numel() // share) | 1  # odd: no image column is favoured
    low, high = values.aminmax()
    return torch.cat([values[::stride], low[None], high[None]])


def graph_of(network: Network) -> Graph:
    """The graph of a VGG16 or ResNet-32 for pixels (B, 3, 32, 32); layers L1, L2, ..."""
    example = torch.zeros(2, 3, 32, 32, dtype=torch.uint8, device=network.normalize.mean.device)
    return Graph.trace(network, example, layer_names(network))
