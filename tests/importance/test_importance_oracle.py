"""Scores equal the first edition's on the same VGG16 (goes with it)."""

import numpy as np
import pytest
import torch

from ltqlib import importance
from ltqlib.config import from_profile
from ltqlib.first import importance as first
from ltqlib.first import models as first_models
from ltqlib.first.quantization import SCHEMES
from ltqlib.models import build
from ltqlib.models.graph import graph_of
from ltqlib.quantization import variants

IMAGES = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
LABELS = np.arange(20) % 10
GROUPS = first.each_class([str(label) for label in range(10)])
BITS = (4, 2)
SCHEME = SCHEMES["w-tensor"]
CHOSEN = ["L1", "L7", "L16"]


@pytest.fixture(scope="module")
def both():
    """(graph, first edition's folded network, variants) of the same weights."""
    torch.manual_seed(0)
    network = build(from_profile("smoke"), 10)
    torch.nn.init.normal_(network.classifier.weight)
    with torch.no_grad():
        for _ in range(3):
            network(torch.from_numpy(IMAGES).permute(0, 3, 1, 2))
    old = first_models.vgg16(1 / 16, 10)
    old.load_state_dict(network.eval().state_dict(), strict=False)
    graph = graph_of(network)
    folded = first_models.fold_batchnorm(old.eval())
    for name, layer in first_models.quantizable_layers(folded).items():
        layer.weight.data.copy_(graph.weight(name))
    return graph, folded, variants(graph, BITS)


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-4 * np.abs(expected).max())


def test_noise(both):
    graph, folded, rounded = both
    close(importance.sqnr(graph, rounded), first.sqnr(folded, BITS, SCHEME))
    expected = first.output_sqnr(folded, IMAGES, LABELS, BITS, SCHEME, GROUPS)
    close(importance.output_sqnr(graph, IMAGES, LABELS, rounded), expected)


def test_outputs(both):
    graph, folded, rounded = both
    logits = importance.one_layer_logits(graph, IMAGES, rounded, LABELS)
    pairs = list(first.one_layer_quantized(folded, IMAGES, BITS, SCHEME))
    reference = first_models.predict_logits(folded, IMAGES)
    given = (reference, pairs, LABELS, GROUPS, list(graph.layers), BITS)
    close(importance.loss_increase(logits), first.loss_increase(*given))
    close(importance.kl_divergence(logits), first.kl_divergence(*given))


def test_derivatives(both):
    graph, folded, _ = both
    given, old = (graph, IMAGES, LABELS), (folded, IMAGES, LABELS)
    rounded = variants(graph, BITS, layers=CHOSEN)
    close(importance.fisher(*given, layers=CHOSEN), first.fisher(*old, GROUPS, CHOSEN))
    close(importance.fit(*given, rounded), first.fit(*old, BITS, SCHEME, GROUPS, CHOSEN))
    close(importance.taylor(*given, rounded), first.taylor(*old, BITS, SCHEME, GROUPS, CHOSEN))
    for measure in ("gradient", "grape"):
        expected = first.gradient_importance(*old, GROUPS, measure, CHOSEN)
        close(importance.gradient_importance(*given, measure=measure, layers=CHOSEN), expected)
    trace = importance.hessian_trace(*given, layers=CHOSEN, probes=2)
    close(trace.trace, first.hessian_trace(*old, GROUPS, CHOSEN, probes=2).trace)
    eigenvalue = importance.top_eigenvalue(*given, layers=["L16"], iterations=3)
    close(eigenvalue.value, first.top_eigenvalue(*old, GROUPS, ["L16"], iterations=3).value)
