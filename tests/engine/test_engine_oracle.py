"""The first edition as an oracle: its sweep and its configurations on the same weights."""

import numpy as np
import pytest
import torch
from plain_way import all_logits, one_layer_at_a_time, ready, weight_variants

from ltqlib.config import from_profile
from ltqlib.engine import predict
from ltqlib.first import config as first_config
from ltqlib.first import models as first_models
from ltqlib.first.quantization import SCHEMES
from ltqlib.first.quantization.ptq import calibrate
from ltqlib.first.sensitivity import Configurations
from ltqlib.first.sensitivity import one_layer_at_a_time as first_sweep
from ltqlib.models import build, graph_of

WIDTHS, SCHEME = (2, 4, 8), SCHEMES["w-tensor"]
PROFILES = {"vgg16": ("smoke", {}), "resnet32": ("resnet", {"width": 0.25})}


@pytest.fixture(scope="module", params=PROFILES)
def pair(request, images):
    """(graph, the first edition's folded network) of the same weights."""
    profile, changes = PROFILES[request.param]
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
    network = ready(build(from_profile(profile, **changes), 10), pixels)
    old = first_models.build(first_config.from_profile(profile, **changes), 10)
    old.load_state_dict(network.state_dict())
    return graph_of(network), first_models.fold_batchnorm(old)


def test_float_logits_weights_and_samples_are_the_same_bit_for_bit(pair, images):
    graph, old = pair
    expected = first_models.predict_logits(old, images)
    np.testing.assert_array_equal(graph.logits(graph.pixels(images)).numpy(), expected)
    for name, layer in first_models.quantizable_layers(old).items():
        assert torch.equal(graph.weight(name), layer.weight)
    samples = graph.sample_inputs(images)
    for name, sample in calibrate(old, images).items():
        assert torch.equal(samples[name], sample)


def test_costs_are_the_same(pair):
    graph, old = pair
    costs = {n: {"parameters": c.parameters, "macs": c.macs} for n, c in graph.layers.items()}
    assert costs == first_models.layer_costs(old)


def test_the_sweep_predicts_the_same(pair, images):
    graph, old = pair
    rows = one_layer_at_a_time(graph, WIDTHS)
    found = predict(graph, weight_variants(graph, WIDTHS), rows, images)["predicted"]
    expected = first_sweep(old, images, WIDTHS, SCHEME)
    each = [by_width[bits] for by_width in expected.values() for bits in WIDTHS]
    np.testing.assert_array_equal(found[1:], each)


def test_configurations_have_the_same_logits(pair, images):
    graph, old = pair
    rows = np.random.default_rng(0).choice([2, 4, 8, 32], size=(20, len(graph.layers)))
    rows[5:, : len(graph.layers) // 2] = rows[0, : len(graph.layers) // 2]
    variants = weight_variants(graph, WIDTHS)
    found = predict(graph, variants, rows, images, all_logits, precision="float32")["logits"]
    expected = Configurations(old, SCHEME, "float32").logits(images, rows)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(found.argmax(-1), expected.argmax(-1))
    print((found == expected).mean())
