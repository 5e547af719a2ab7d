"""torchvision's models with random weights: logits, costs and sweeps are those of the module."""

import numpy as np
import pytest
import torch
import torchvision
from plain_way import all_logits, one_layer_at_a_time, pictures, plain, ready, weight_variants
from torch.utils.flop_counter import FlopCounterMode

from ltqlib.engine import predict
from ltqlib.models import Graph

SLOW = pytest.mark.slow
MODELS = {  # layers of each, counted by hand
    "resnet18": 21,
    "mobilenet_v2": 53,
    "efficientnet_b0": 82,
    "convnext_tiny": 59,
    "densenet121": 121,
    "vit_b_16": 50,
}


@pytest.mark.parametrize(
    "name", ["resnet18", *(pytest.param(name, marks=SLOW) for name in list(MODELS)[1:])]
)
def test_logits_costs_and_sweep_are_those_of_the_module(name):
    torch.manual_seed(0)
    options = {"image_size": 32} if name == "vit_b_16" else {}
    module = getattr(torchvision.models, name)(num_classes=7, **options)
    images = (torch.from_numpy(pictures(48, 32)).permute(0, 3, 1, 2) - 127.5) / 63.75
    ready(module, images)
    images = images[:8]
    graph = Graph.trace(module, images[:2])
    with torch.inference_mode():
        expected = module(images)
    assert len(expected.argmax(1).unique()) > 2
    torch.testing.assert_close(graph.logits(images), expected, rtol=1e-3, atol=1e-4)
    assert len(graph.layers) == MODELS[name]
    assert all("weight" not in skipped for skipped in graph.skipped)
    costs_agree(module, graph, images)
    sweep_agrees(graph, images)


def costs_agree(module, graph, images) -> None:
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # which the counter does not see into
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(images[:1])
    torch.backends.mha.set_fastpath_enabled(fast_path)
    macs = sum(layer.macs for layer in graph.layers.values())
    assert 2 * macs == counter.get_total_flops()


def sweep_agrees(graph, images) -> None:
    variants, rows = weight_variants(graph, (3,)), one_layer_at_a_time(graph, (3,))
    expected = plain(graph, variants, rows, images)
    found = predict(graph, variants, rows, images, all_logits, precision="float32")["logits"]
    # float32 in another order of sums: against the largest logit, for networks differ in scale
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    assert (expected.argmax(-1) != expected.argmax(-1)[0]).any(1).sum() > 2  # layers
    np.testing.assert_array_equal(found.argmax(-1), expected.argmax(-1))
    settled = predict(graph, variants, rows, images, precision="bfloat16")["predicted"]
    np.testing.assert_array_equal(settled, expected.argmax(-1))
