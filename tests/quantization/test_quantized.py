"""The quantized model, against copies of the module whose layers torch's operators round."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torchvision import models as torchvision_models

from ltqlib.errors import InputError
from ltqlib.models.graph import Graph
from ltqlib.quantization import (
    Bits,
    QTensor,
    Quantized,
    Variant,
    choose_qparams,
    fake_quantize,
    methods,
    quantize,
    widths_of,
)

NAMES = ("w-tensor", "w-channel", "wa-tensor", "wa-percentile", "wa-mse")


def rounded_copy(module, graph, variants):
    """A copy of a module without BatchNorm, with weights rounded and inputs rounded by hooks."""
    other = copy.deepcopy(module)
    for name, variant in variants.items():
        layer = other.get_submodule(name)
        if variant.weight is not None:
            layer.weight.data = graph.held(name, variant.weight.dequantize())
        if variant.input is not None:
            grid = variant.input
            layer.register_forward_pre_hook(
                lambda _, inputs, grid=grid: fake_quantize(inputs[0], grid)
            )
    return other


@pytest.fixture(scope="module")
def folded(network):
    """The network with its BatchNorm folded by torch."""
    other = copy.deepcopy(network)
    other.first = nn.utils.fusion.fuse_conv_bn_eval(other.first, other.norm)
    other.norm = nn.Identity()
    return other


@pytest.mark.parametrize("bits", [8, 3], ids=lambda bits: f"{bits} bits")
@pytest.mark.parametrize("name", NAMES)
def test_it_computes_what_a_rounded_copy_does(folded, graph, images, name, bits):
    model = quantize(graph, bits, method=name, calibration=images)
    expected = rounded_copy(folded, graph, model.variants)(images).detach()
    spread = expected.std()
    torch.testing.assert_close(model(images) / spread, expected / spread, rtol=0, atol=1e-3)


def test_a_module_is_quantized_in_one_call(network, images):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    model = quantize(network, bits=8, example=images[:2])
    assert isinstance(model, Quantized)
    assert model.method == "w-tensor"
    close = (model(images) - network(images)).abs().max() < 0.1 * network(images).std()
    assert close
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_widths_by_layer_leave_the_others_float(graph, images):
    widths = {"first": 4, "head": 32, "hidden": 0, "grouped": 2}
    model = quantize(graph, widths, method="wa-tensor", calibration=images)
    assert set(model.variants) == {"first", "grouped"}
    none = Bits(None, None)
    assert model.bit_config == {
        "first": Bits(4, 4), "grouped": Bits(2, 2), "depthwise": none, "transposed": none,
        "hidden": none, "head": none,
    }  # fmt: skip
    state = model.model.state_dict()
    for layer in graph.layers.values():
        same = torch.equal(state[layer.attribute], graph.traced.constants[layer.attribute])
        assert same == (layer.name not in model.variants)


def test_nothing_quantized_is_the_float_model(graph, images):
    assert torch.equal(quantize(graph, 32)(images), graph.logits(images))


def test_inputs_alone_can_be_rounded(graph, images):
    grid = methods.get("wa-tensor").variant(graph, "head", 2, graph.sample_inputs(images)["head"])
    model = Quantized(graph, {"head": Variant(None, grid.input)})
    seen = []
    probe = graph.module(inputs={"head": lambda x: seen.append(fake_quantize(x, grid.input)) or x})
    probe(images)
    expected = seen[0] @ graph.weight("head").T + graph.bias("head")
    torch.testing.assert_close(model(images), expected)
    assert model.bit_config["head"] == Bits(None, 2)


def test_the_size_is_counted_by_hand(graph, images):
    sizes = {name: layer.parameters for name, layer in graph.layers.items()}
    biases = 8 + 8 + 8 + 6 + 5  # all but the hidden layer's
    everything = sum(sizes.values()) + biases
    assert quantize(graph, 32).model_size == 4 * everything
    packed = sum(-(-size * 3 // 8) + 4 for size in sizes.values())
    assert quantize(graph, 3).model_size == packed + 4 * biases
    channels = 8 + 8 + 8 + 6 + 10 + 5
    by_channel = sum(-(-size * 3 // 8) for size in sizes.values()) + 4 * channels
    assert quantize(graph, 3, method="w-channel").model_size == by_channel + 4 * biases
    with_inputs = quantize(graph, 3, method="wa-tensor", calibration=images).model_size
    assert with_inputs == packed + 4 * biases + 5 * len(sizes)  # a scale and a zero point each


def test_its_state_moves_and_prints(graph, images):
    model = quantize(graph, {"first": 4}, method="wa-tensor", calibration=images)
    doubled = copy.deepcopy(model).to(torch.float64)
    assert doubled.model.state_dict()[graph.layers["first"].attribute].dtype == torch.float64
    assert "method='wa-tensor', weight_bits=4" in repr(model)
    assert not model.training


@pytest.mark.parametrize(
    ("call", "says"),
    [
        pytest.param(lambda g, n: quantize(g, {"last": 4}), "layer 'last': the layers are first, ",
                     id="layer"),
        pytest.param(lambda g, n: quantize(g, 9), "9 bits", id="bits"),
        pytest.param(lambda g, n: quantize(n, 8), "give example=<images>", id="no example"),
        pytest.param(lambda g, n: quantize(g, 8, method="wa-mse"), "needs calibration images",
                     id="no calibration"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(graph, network, call, says):
    with pytest.raises(InputError, match=says):
        call(graph, network)


@pytest.mark.parametrize("bits", ["4", 4.5, None, {"a": "4"}], ids=str)
def test_widths_are_whole_numbers(bits):
    with pytest.raises(InputError, match="bits are whole numbers, not"):
        widths_of(bits, ["a", "b"])
    assert widths_of(np.int64(4), ["a"]) == {"a": 4}


@pytest.mark.parametrize("symmetric", [True, False], ids=["symm", "asymm"])
def test_integers_are_stored_small_and_packed(symmetric):
    x = torch.randn(5, 7)
    for bits in (3, 8):
        grid = choose_qparams(x.min(), x.max(), bits, symmetric)
        found = QTensor.quantize(x, grid)
        assert torch.equal(found.dequantize(), fake_quantize(x, grid))
        fits = symmetric or bits == 3
        assert found.integers.dtype == (torch.int8 if fits else torch.int32)
        assert found.nbytes == -(-35 * bits // 8) + (4 if symmetric else 5)


def test_widths_follow_the_order_of_execution():
    assert widths_of(4, ["a", "b"]) == {"a": 4, "b": 4}
    assert list(widths_of({"b": 2, "a": 3}, ["a", "b"])) == ["a", "b"]
    assert widths_of({"b": 32, "a": 0}, ["a", "b"]) == {}


# ---- models that the library does not know


def resnet18() -> nn.Module:
    return torchvision_models.resnet18(num_classes=7)


def vit() -> nn.Module:
    module = torchvision_models.VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=7)
    nn.init.normal_(module.heads.head.weight)  # torchvision starts it at zero
    return module


@pytest.mark.parametrize(
    ("build", "names"),
    [
        pytest.param(resnet18, ("w-tensor", "wa-tensor"), id="ResNet-18"),
        pytest.param(vit, NAMES, id="ViT"),
    ],
)
def test_foreign_models_are_quantized(build, names):
    torch.manual_seed(0)
    module = build().eval()
    images = torch.randn(12, 3, 32, 32)
    graph = Graph.trace(module, images[:2])
    before = module(images).detach()
    weights = sum(layer.parameters for layer in graph.layers.values())
    others = quantize(graph, 32).model_size - 4 * weights
    assert others < 0.5 * weights
    for name in names:
        distance = []
        for bits in (8, 4):
            model = quantize(graph, bits, method=name, calibration=images)
            assert all(config.weight_bits == bits for config in model.bit_config.values())
            grids = model.model_size - others - weights * bits / 8
            assert 0 < grids <= sum(5 * (1 + n.weight_shape[0]) for n in graph.layers.values())
            distance.append(float((model(images) - before).norm() / before.norm()))
        assert distance[0] < min(0.1, distance[1])
