"""The registry, and round to nearest against its definition layer by layer."""

from pathlib import Path

import pytest
import torch
from torch import nn

from ltqlib.errors import InputError
from ltqlib.models.graph import Graph
from ltqlib.quantization import methods
from ltqlib.quantization.grids import fake_quantize
from ltqlib.quantization.methods.round_to_nearest import RoundToNearest

WEIGHT_ONLY = ("w-tensor", "w-channel")
WITH_INPUTS = ("wa-tensor", "wa-percentile", "wa-mse")
LAYERS = ("first", "grouped", "depthwise", "transposed", "hidden", "head")

FILE = '''
"""Everything at plus or minus one step: for the test alone."""

from ltqlib.quantization.methods import LocalMethod, register
from ltqlib.quantization.grids import choose_qparams
from ltqlib.quantization.types import QTensor, Variant


class Signs(LocalMethod):
    name = "signs"

    def variant(self, graph, layer, bits, sample=None):
        weight = graph.weight(layer)
        size = weight.abs().mean()
        grid = choose_qparams(-size, size, bits, True)
        return Variant(QTensor.quantize(weight.sign() * size, grid))


register(Signs())
'''


@pytest.fixture
def registry(monkeypatch):
    """What a test registers is forgotten after it."""
    monkeypatch.setattr(methods, "_METHODS", dict(methods._METHODS))


def test_the_registered_names_of_round_to_nearest():
    found = methods.names()
    assert [name for name in found if name in WEIGHT_ONLY + WITH_INPUTS] == [
        "w-tensor", "w-channel", "wa-tensor", "wa-percentile", "wa-mse",
    ]  # fmt: skip
    for name in found:
        method = methods.get(name)
        assert method.name == name
        assert methods.get(method) is method
    for name in WEIGHT_ONLY + WITH_INPUTS:
        method = methods.get(name)
        assert method.local
        assert method.activations == method.calibrated == (name in WITH_INPUTS)


def test_a_file_in_the_folder_is_a_method(registry, tmp_path: Path, monkeypatch, graph, images):
    (tmp_path / "signs.py").write_text(FILE)
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(tmp_path)])
    model = methods.get("signs").quantize(graph, {"head": 2})
    assert "signs" in methods.names()
    assert len(model.variants["head"].weight.dequantize().unique()) == 2
    assert model(images).shape == (40, 5)


def test_an_unknown_method_is_refused():
    with pytest.raises(InputError, match=r"method 'awq' is unknown: use one of .*w-tensor"):
        methods.get("awq")


def test_a_name_belongs_to_one_method(registry):
    methods.get("w-tensor")

    class Other(RoundToNearest):
        pass

    with pytest.raises(InputError, match="'w-tensor' is registered already"):
        methods.register(Other("w-tensor"))


@pytest.mark.parametrize("bits", [2, 4, 8], ids=lambda bits: f"{bits} bits")
@pytest.mark.parametrize("layer", LAYERS)
def test_one_symmetric_grid_a_tensor_covers_the_largest_weight(graph, layer, bits):
    weight, levels = graph.weight(layer), 2 ** (bits - 1) - 1
    found = methods.get("w-tensor").variant(graph, layer, bits, None).weight
    scale = float(weight.abs().max()) / levels
    assert found.qparams.scale.shape == ()
    assert float(found.qparams.scale) == pytest.approx(scale)
    expected = torch.clamp(torch.round(weight.double() / scale), -levels, levels)
    assert torch.equal(found.integers.double(), expected)
    assert found.integers.dtype == torch.int8
    torch.testing.assert_close(found.dequantize().double(), expected * scale)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("name", ["w-channel", "wa-percentile", "wa-mse"])
def test_one_grid_a_channel_is_one_a_tensor_for_each_output_channel(graph, layer, name):
    method = methods.get(name)
    weight = graph.weight(layer)
    found = method.weight_qparams(weight, 4)
    alone = RoundToNearest("alone", weight_range=method.weight_range)
    assert found.scale.shape == (len(weight),)
    for channel, scale in zip(weight, found.scale, strict=True):
        torch.testing.assert_close(alone.weight_qparams(channel[None], 4).scale, scale)


def test_the_channels_of_a_transposed_convolution_are_its_outputs(network, graph):
    """Torch holds its weight as (C_in, C_out / groups, ...); output channel 4 is [4:, 1]."""
    grid = methods.get("w-channel").variant(graph, "transposed", 4, None).weight.qparams
    held = network.transposed.weight.detach()
    expected = [held[4 * g : 4 * g + 4, o].abs().max() / 7 for g in range(2) for o in range(3)]
    torch.testing.assert_close(grid.scale, torch.stack(expected))


@pytest.mark.parametrize("name", WITH_INPUTS)
def test_inputs_have_one_asymmetric_grid(graph, images, name):
    method = methods.get(name)
    samples = method.samples(graph, images)
    for layer in LAYERS:
        grid = method.variant(graph, layer, 4, samples[layer]).input
        assert (grid.quant_min, grid.quant_max, grid.scale.shape) == (0, 15, ())
        sample = samples[layer]
        if name == "wa-tensor":
            reach = sample.max().clamp(min=0) - sample.min().clamp(max=0)
            torch.testing.assert_close(grid.scale, reach / 15)
        error = (fake_quantize(sample, grid) - sample).abs()
        assert (error <= grid.scale / 2 * 1.001).float().mean() > 0.9


@pytest.mark.parametrize("name", WEIGHT_ONLY + WITH_INPUTS)
@pytest.mark.parametrize("bits", [1, 9, 32])
def test_bits_outside_2_to_8_are_refused(graph, images, name, bits):
    method = methods.get(name)
    sample = method.samples(graph, images[:4]).get("first")
    with pytest.raises(InputError, match=f"^{bits} bits: .* takes 2 to 8$"):
        method.variant(graph, "first", bits, sample)


def test_inputs_without_calibration_images_are_refused(graph):
    with pytest.raises(InputError, match="method 'wa-mse' needs calibration images"):
        methods.get("wa-mse").quantize(graph, {"first": 8})
    with pytest.raises(InputError, match=r"input of layer 'first' .* without calibration images"):
        methods.get("wa-mse").variant(graph, "first", 8, None)


def test_weights_that_are_not_finite_are_refused(images):
    broken = nn.Sequential(nn.Flatten(), nn.Linear(192, 5)).eval()
    graph = Graph.trace(broken, images[:2])
    graph.traced.constants[graph.layers["1"].attribute][0, 0] = torch.nan
    for name in WEIGHT_ONLY:
        with pytest.raises(InputError, match="layer '1' has values that are not finite"):
            methods.get(name).variant(graph, "1", 8, None)


def test_a_layer_of_zeros_stays_zero(images):
    empty = nn.Sequential(nn.Flatten(), nn.Linear(192, 5)).eval()
    nn.init.zeros_(empty[1].weight)
    graph = Graph.trace(empty, images[:2])
    for name in (*WEIGHT_ONLY, *WITH_INPUTS):
        method = methods.get(name)
        model = method.quantize(graph, {"1": 2}, images)
        torch.testing.assert_close(model(images), empty(images).detach())
