"""The chosen layers of a network, and the network as a function of their weights."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from ltqlib.first.data import Images, in_order
from ltqlib.first.errors import InputError
from ltqlib.first.importance.groups import Array
from ltqlib.first.models import Network, quantizable_layers

Labels = npt.NDArray[np.int64]


def chosen_layers(
    network: Network, names: Sequence[str] | None = None
) -> "dict[str, nn.Conv2d | nn.Linear]":
    """Layers by name, all in order of execution unless ``names`` says which.

    Raises:
        InputError: no name, or a name that the network does not have.
    """
    layers = quantizable_layers(network)
    if names is None:
        return dict(layers)
    if missing := [name for name in names if name not in layers]:
        raise InputError(f"no layer {missing[0]!r}: the layers are {', '.join(layers)}")
    if not names:
        raise InputError(f"no layer was chosen: the layers are {', '.join(layers)}")
    return {name: layers[name] for name in names}


def weights_of(network: Network, names: Sequence[str] | None = None) -> dict[str, Tensor]:
    """``{parameter of the network: its weight, detached}`` of the chosen layers, in their order."""
    key = {id(module): f"{path}.weight" for path, module in network.named_modules()}
    layers = chosen_layers(network, names)
    return {key[id(layer)]: layer.weight.detach() for layer in layers.values()}


def trainable(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same weights as leaves that autograd follows; the network's own stay as they are."""
    return {name: weight.clone().requires_grad_() for name, weight in weights.items()}


def labelled_batches(
    network: Network, images: Images, labels: Labels, batch: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """(pixels, labels) on the network's device, in order."""
    device = next(network.parameters()).device
    targets = torch.from_numpy(labels).to(device)
    yield from zip(in_order(images, batch, device), targets.split(batch), strict=True)


def weighted_losses(
    network: Network,
    weights: Mapping[str, Tensor],
    images: Images,
    labels: Labels,
    share: Array,
    batch: int,
) -> Iterator[Tensor]:
    """Batch by batch, the part of ``sum_i share_i * cross-entropy_i``; their sum is the loss.

    Images whose share (N,) is zero are left out.
    """
    mine = np.flatnonzero(share)
    parts = torch.from_numpy(share[mine]).split(batch)
    batches = labelled_batches(network, images[mine], labels[mine], batch)
    for part, (pixels, targets) in zip(parts, batches, strict=True):
        losses = F.cross_entropy(
            functional_call(network, dict(weights), (pixels,)), targets, reduction="none"
        )
        yield (losses * part.to(losses)).sum()
