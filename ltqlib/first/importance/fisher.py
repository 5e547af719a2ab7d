"""Empirical Fisher information from the gradients of single images, and FIT."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call, grad, vmap

from ltqlib.first.data import Images
from ltqlib.first.importance.groups import Array, Groups, image_weights
from ltqlib.first.importance.layers import Labels, labelled_batches, weights_of
from ltqlib.first.importance.noise import perturbation
from ltqlib.first.models import Network
from ltqlib.first.quantization.ptq import Scheme


def fisher(
    network: Network,
    images: Images,
    labels: Labels,
    groups: Groups,
    layers: Sequence[str] | None = None,
    batch: int = 16,
) -> Array:
    """Trace of the empirical Fisher information of each layer's weight, (groups, layers).

    The mean over a group's images of ``||d cross-entropy / d w||**2``, with the true label (not
    one drawn from the model, which would be the Fisher information itself; Kunstner et al., 2019).

    Args:
        images: uint8 (N, H, W, 3); labels: truth (N,).
        batch: images whose gradients are held at once: each is as large as the weights.

    Raises:
        InputError: a class without an image, or a layer that the network does not have.
    """
    share = image_weights(labels, groups)
    return share @ squared_gradients(network, images, labels, layers, batch)


def squared_gradients(
    network: Network,
    images: Images,
    labels: Labels,
    layers: Sequence[str] | None = None,
    batch: int = 16,
) -> Array:
    """``||d cross-entropy_i / d w_l||**2`` of each image and layer, (N, layers)."""
    weights = weights_of(network, layers)

    def loss(weights: dict[str, Tensor], pixels: Tensor, label: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(network, weights, (pixels[None],)), label[None])

    of_images = vmap(grad(loss), in_dims=(None, 0, 0))
    rows = []
    for pixels, targets in labelled_batches(network, images, labels, batch):
        gradients = of_images(weights, pixels, targets)
        squares = [g.flatten(1).double().square().sum(1) for g in gradients.values()]
        rows.append(torch.stack(squares, 1).cpu().numpy())
    return np.concatenate(rows)


def fit(
    network: Network,
    images: Images,
    labels: Labels,
    widths: Sequence[int],
    scheme: Scheme,
    groups: Groups,
    layers: Sequence[str] | None = None,
    batch: int = 16,
) -> Array:
    """FIT (Zandonati et al., 2023) of weights: Fisher trace times mean squared noise.

    One term a layer, (groups, layers, widths): FIT of a bit configuration is the sum of its
    layers' terms. Errors as :func:`fisher`.
    """
    trace = fisher(network, images, labels, groups, layers, batch)
    return perturbation(trace, network, widths, scheme, layers)
