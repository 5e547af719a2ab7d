"""Scores read from outputs: how the logits change when one layer is quantized."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import log_softmax
from torch.func import functional_call

from ltqlib.first.data import Images, in_order
from ltqlib.first.errors import InputError
from ltqlib.first.importance.groups import Array, Groups, image_weights
from ltqlib.first.importance.layers import weights_of
from ltqlib.first.models import Network, quantizable_layers
from ltqlib.first.progress import Progress
from ltqlib.first.quantization.ptq import Scheme, quantized_weight

Logits = npt.NDArray[np.floating]
Outputs = Iterable[tuple[str, int, Logits]]  # (layer, bits, logits (N, classes)) in any order


@torch.no_grad()
def one_layer_quantized(
    network: Network,
    images: Images,
    widths: Sequence[int],
    scheme: Scheme,
    layers: Sequence[str] | None = None,
    batch: int = 500,
) -> Iterator[tuple[str, int, Logits]]:
    """Logits with only one layer's weights quantized: (layer, bits, logits (N, classes)).

    Each pair runs the whole network, whatever its structure: the plain source of ``Outputs``.

    Raises:
        InputError: a layer that the network does not have, or bits outside 2..8.
    """
    device = next(network.parameters()).device
    names = layers or list(quantizable_layers(network))
    with Progress(len(names) * len(widths), "outputs") as bar:
        for name, (key, weight) in zip(names, weights_of(network, names).items(), strict=True):
            for bits in widths:
                rounded = {key: quantized_weight(weight, bits, scheme)}
                parts = [
                    functional_call(network, rounded, (pixels,)).float().cpu()
                    for pixels in in_order(images, batch, device)
                ]
                yield name, bits, torch.cat(parts).numpy()
                bar.update()


def loss_increase(
    reference: Logits,
    quantized: Outputs,
    labels: npt.NDArray[np.int64],
    groups: Groups,
    layers: Sequence[str],
    widths: Sequence[int],
) -> Array:
    """Increase of the mean cross-entropy of each group, in nats, (groups, layers, widths).

    Args:
        reference: logits (N, classes) of the float network.
        quantized: (layer, bits, logits) for every layer and width, as
            :func:`one_layer_quantized` yields them.
        labels: truth (N,).

    Raises:
        InputError: a layer and width is missing or unknown, shapes differ, a class has no image.
    """
    rows = np.arange(len(labels))
    before = -log_softmax(reference.astype(np.float64), axis=1)[rows, labels]

    def change(logits: Array) -> Array:
        return -log_softmax(logits, axis=1)[rows, labels] - before

    return _by_group(change, reference, quantized, labels, groups, layers, widths)


def kl_divergence(
    reference: Logits,
    quantized: Outputs,
    labels: npt.NDArray[np.int64],
    groups: Groups,
    layers: Sequence[str],
    widths: Sequence[int],
) -> Array:
    """Mean Kullback-Leibler divergence of the softmax, ``KL(float || quantized)``, in nats.

    The labels only say which group an image is in. ZeroQ's sensitivity (Cai et al., 2020)
    with the float network's output first. Arguments and errors as :func:`loss_increase`.

    Returns:
        (groups, layers, widths), none below zero but for rounding.
    """
    before = log_softmax(reference.astype(np.float64), axis=1)
    probability = np.exp(before)

    def divergence(logits: Array) -> Array:
        return np.sum(probability * (before - log_softmax(logits, axis=1)), axis=1)

    return _by_group(divergence, reference, quantized, labels, groups, layers, widths)


def _by_group(
    score: Callable[[Array], Array],
    reference: Logits,
    quantized: Outputs,
    labels: npt.NDArray[np.int64],
    groups: Groups,
    layers: Sequence[str],
    widths: Sequence[int],
) -> Array:
    """Group means of a score of each image (N,), for every layer and width."""
    weights = image_weights(labels, groups)
    column = {(name, b): (i, j) for i, name in enumerate(layers) for j, b in enumerate(widths)}
    scores = np.empty((len(groups), len(layers), len(widths)))
    left = set(column)
    for name, bits, logits in quantized:
        if (name, bits) not in column:
            raise InputError(f"outputs of layer {name!r} at {bits} bits were not asked for")
        if not logits.shape == reference.shape == (len(labels), reference.shape[-1]):
            raise InputError(
                f"logits of layer {name!r} have shape {logits.shape}, the float network's "
                f"{reference.shape}, for {len(labels)} labels: give outputs on the same images"
            )
        scores[:, *column[name, bits]] = weights @ score(logits.astype(np.float64))
        left.discard((name, bits))
    if left:
        name, bits = min(left, key=lambda pair: column[pair])
        raise InputError(f"outputs of layer {name!r} at {bits} bits are missing: evaluate them too")
    return scores
