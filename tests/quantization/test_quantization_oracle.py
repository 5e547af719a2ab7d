"""Round to nearest equals the first edition's, on the same folded network (goes with it)."""

import numpy as np
import pytest
import torch

from ltqlib.config import from_profile
from ltqlib.first import models as first_models
from ltqlib.first import quantization as first
from ltqlib.first.quantization import ptq
from ltqlib.models import build, layer_names
from ltqlib.models.graph import graph_of
from ltqlib.quantization import methods, quantize

IMAGES = np.random.default_rng(0).integers(0, 256, (24, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def both():
    """(new graph, first edition's folded network) of the same weights."""
    torch.manual_seed(0)
    network = build(from_profile("smoke"), 10)
    with torch.no_grad():
        for _ in range(3):
            network(torch.from_numpy(IMAGES).permute(0, 3, 1, 2))
    network.eval()
    old = first_models.vgg16(1 / 16, 10)
    old.load_state_dict(network.state_dict(), strict=False)
    folded = first_models.fold_batchnorm(old.eval())
    assert list(layer_names(network).values()) == list(first_models.quantizable_layers(folded))
    return graph_of(network), folded


@pytest.mark.parametrize("name", first.SCHEMES)
@pytest.mark.parametrize("bits", [2, 4, 8], ids=lambda bits: f"{bits} bits")
def test_weights_inputs_and_logits_are_the_first_editions(both, name, bits):
    graph, folded = both
    scheme, method = first.SCHEMES[name], methods.get(name)
    for layer, module in first_models.quantizable_layers(folded).items():
        weight = graph.weight(layer)
        torch.testing.assert_close(weight, module.weight.data)  # folding in another order
        old = ptq.weight_qparams(weight, bits, scheme)
        found = method.weight_qparams(weight, bits)
        assert torch.equal(found.scale, old.scale)
        new = method.variant(graph, layer, bits, torch.randn(50)).weight
        assert torch.equal(new.dequantize(), ptq.quantized_weight(weight, bits, scheme))
        module.weight.data.copy_(weight)
    calibration = first.calibrate(folded, IMAGES) if method.activations else None
    everywhere = dict.fromkeys(graph.layers, scheme.bits(bits))
    old_network = first.quantize_network(folded, everywhere, scheme, calibration)
    expected = torch.from_numpy(first_models.predict_logits(old_network, IMAGES))
    model = quantize(graph, bits, method=name, calibration=IMAGES)
    logits = model(graph.pixels(IMAGES))
    if not method.activations:
        torch.testing.assert_close(logits, expected, rtol=1e-3, atol=1e-4)
    else:  # a value that lies between two levels may fall to either
        close = (logits - expected).abs() < 0.02 * expected.std() + 1e-3
        assert close.float().mean() > 0.9
