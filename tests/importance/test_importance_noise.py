"""Noise of weights and outputs against its definition."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_classes import BITS, LABELS, LAYERS, MEMBERS
from torch import nn

from ltqlib import importance
from ltqlib.errors import InputError
from ltqlib.models.graph import Graph
from ltqlib.quantization import fake_quantize, variants


@pytest.mark.parametrize("method", ["w-tensor", "w-channel"])
def test_sqnr_is_its_definition(graph, method):
    rounded = variants(graph, BITS, method)
    found = importance.sqnr(graph, rounded)
    assert found.dims == ("layer", "bits")
    for name in LAYERS:
        w = graph.weight(name).numpy().astype(np.float64)
        for bits in BITS:
            noise = rounded[name][bits].weight.dequantize().numpy() - w
            ratio = np.sum(w**2) / np.sum(noise**2)
            expected = 10 * np.log10(ratio)
            assert float(found.sel(layer=name, bits=bits)) == pytest.approx(expected)
    assert (found.diff("bits") < 0).all()  # fewer bits, more noise


def test_weights_on_the_grid_have_no_noise():
    layer = nn.Linear(6, 3)
    nn.init.ones_(layer.weight)
    graph = Graph.trace(layer.eval(), torch.randn(2, 6))
    ones = variants(graph, [2, 8])
    assert importance.squared_noise(graph, ones).max() < 1e-10
    assert importance.sqnr(graph, ones).sel(bits=2).item() == np.inf


@pytest.mark.parametrize("method", ["w-tensor", "wa-tensor"])
def test_output_sqnr_compares_each_layers_outputs_on_its_float_input(
    network, graph, images, method
):
    rounded = variants(graph, BITS, method, images)
    found = importance.output_sqnr(graph, images, LABELS, rounded, batch=5)
    assert found.dims == ("class", "layer", "bits")
    x = images
    for name, layer in network.named_children():
        if name in LAYERS:
            for bits in BITS:
                variant = rounded[name][bits]
                w = variant.weight.dequantize().double()
                y = x if variant.input is None else fake_quantize(x, variant.input).double()
                convolve = isinstance(layer, nn.Conv2d)
                noisy = F.conv2d(y, w, layer.bias, padding=1) if convolve else \
                    F.linear(y, w, layer.bias)  # fmt: skip
                signal = layer(x).flatten(1).square().sum(1).detach().numpy()
                noise = (noisy - layer(x)).flatten(1).square().sum(1).detach().numpy()
                powers = np.array([[signal[m].mean(), noise[m].mean()] for m in MEMBERS])
                expected = 10 * np.log10(powers[:, 0] / powers[:, 1])
                np.testing.assert_allclose(found.sel(layer=name, bits=bits), expected, rtol=1e-4)
        x = layer(x)


class Tied(nn.Module):
    """One linear layer at two sites, the images behind the windows in the batch of the second."""

    def __init__(self):
        super().__init__()
        self.layer, self.head = nn.Linear(6, 6), nn.Linear(24, 3)

    def forward(self, x):
        x = torch.relu(self.layer(x))  # (B, 4, 6)
        x = x.transpose(0, 1).reshape(-1, 6)  # (4 * B, 6), window by window
        x = self.layer(x).unflatten(0, (4, -1)).transpose(0, 1)
        return self.head(x.flatten(1))


def test_tied_layers_add_their_sites_and_windows_belong_to_their_images():
    torch.manual_seed(0)
    module, x = Tied().eval(), torch.randn(12, 4, 6)
    graph = Graph.trace(module, x[:2])
    rounded = variants(graph, [3])
    found = importance.output_sqnr(graph, x, LABELS, rounded, batch=5)
    w = rounded["layer"][3].weight.dequantize()
    inputs = [x, torch.relu(module.layer(x))]
    signal = sum(module.layer(each).square().sum((1, 2)) for each in inputs)
    noise = sum((each @ (w - module.layer.weight).T).square().sum((1, 2)) for each in inputs)
    for label, mine in enumerate(MEMBERS):
        expected = 10 * torch.log10(signal[mine].mean() / noise[mine].mean()).item()
        assert float(found.sel(layer="layer", bits=3)[label]) == pytest.approx(expected)


def test_perturbation_takes_traces_of_its_layers_only(graph, rounded, images):
    trace = importance.fisher(graph, images, LABELS).isel(layer=[0, 1])
    with pytest.raises(InputError, match="not of the layers L1, L2, L3"):
        importance.perturbation(trace, graph, rounded)


def test_every_layer_has_variants_at_the_same_widths(graph, rounded):
    uneven = {**rounded, "L2": {4: rounded["L2"][4]}}
    with pytest.raises(InputError, match=r"'L2' has variants at \[4\] bits and 'L1' at \[8, 4"):
        importance.sqnr(graph, uneven)
    with pytest.raises(InputError, match="every layer, in order: L1, L2, L3"):
        importance.sqnr(graph, {"L1": rounded["L1"]})
