"""Sensitivity: the fast walk through the network against quantizing and evaluating copies."""

import numpy as np
import pytest
import torch

from ltqlib.first.config import from_profile
from ltqlib.first.models import build, fold_batchnorm, predict_logits, quantizable_layers
from ltqlib.first.quantization import SCHEMES, Bits, quantize_network
from ltqlib.first.sensitivity import one_layer_at_a_time

WIDTHS = (8, 4, 2)


@pytest.mark.parametrize("scheme", ["w-tensor", "w-channel"])
def test_one_walk_equals_quantizing_one_copy_a_layer_and_width(
    folded_network, smoke_images, scheme
):
    images = smoke_images[::4]  # 125: the last batch is not full
    before = {name: value.clone() for name, value in folded_network.state_dict().items()}
    found = one_layer_at_a_time(folded_network, images, WIDTHS, SCHEMES[scheme], batch=50)
    assert list(found) == list(quantizable_layers(folded_network))
    different = 0
    for layer, by_width in found.items():
        assert tuple(by_width) == WIDTHS
        for bits, predictions in by_width.items():
            copy = quantize_network(folded_network, {layer: Bits(bits)}, SCHEMES[scheme])
            different += (predictions != predict_logits(copy, images).argmax(1)).sum()
            assert predictions.dtype == np.uint8
    # sums in another order may tip an image that lies between two classes
    assert different <= 0.002 * len(images) * len(found) * len(WIDTHS)
    assert all(torch.equal(v, before[k]) for k, v in folded_network.state_dict().items())


def test_narrow_widths_change_more_predictions(folded_network, smoke_images):
    plain = predict_logits(folded_network, smoke_images).argmax(1)
    found = one_layer_at_a_time(folded_network, smoke_images, (8, 2), SCHEMES["w-tensor"])
    changed = {
        bits: sum((by_width[bits] != plain).sum() for by_width in found.values()) for bits in (8, 2)
    }
    assert changed[8] < changed[2]


def test_residual_networks_are_walked_as_well(smoke_images):
    network = fold_batchnorm(build(from_profile("resnet", width=0.25), 10))
    found = one_layer_at_a_time(network, smoke_images[:20], (3,), SCHEMES["w-tensor"])
    assert list(found) == [f"L{number}" for number in range(1, 33)]
    for layer in ("L1", "L2", "L13", "L32"):  # both places in a block, a halving block, the end
        copy = quantize_network(network, {layer: Bits(3)}, SCHEMES["w-tensor"])
        expected = predict_logits(copy, smoke_images[:20]).argmax(1)
        np.testing.assert_array_equal(found[layer][3], expected)
