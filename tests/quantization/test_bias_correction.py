"""Bias correction: means after it, the plain way layer by layer, and that it is not local."""

import copy

import pytest
import torch
from torch import nn

from ltqlib.errors import InputError
from ltqlib.models.graph import Graph
from ltqlib.quantization import methods, quantize

WIDTHS = {"first": 3, "grouped": 2, "transposed": 4, "hidden": 2, "head": 3}


def outputs_of(module, names, images):
    kept, handles = {}, []
    for name in names:
        keep = lambda _, inputs, y, name=name: kept.setdefault(name, y)  # noqa: E731
        handles.append(module.get_submodule(name).register_forward_hook(keep))
    module(images)
    for handle in handles:
        handle.remove()
    return kept


def channel_means(y):
    return y.transpose(1, -1).flatten(0, -2).mean(0)


@pytest.fixture(scope="module")
def folded(network):
    other = copy.deepcopy(network)
    other.first = nn.utils.fusion.fuse_conv_bn_eval(other.first, other.norm)
    other.norm = nn.Identity()
    return other.requires_grad_(False)


@pytest.fixture(scope="module")
def plain(folded, graph, images):
    """Round and correct one layer after the other, each with a pass of its own."""
    wanted = {n: channel_means(y) for n, y in outputs_of(folded, WIDTHS, images).items()}
    other = copy.deepcopy(folded)
    other.hidden.bias = nn.Parameter(torch.zeros(10), requires_grad=False)
    for name, bits in WIDTHS.items():
        layer = other.get_submodule(name)
        rounded = methods.get("w-tensor").variant(graph, name, bits).weight.dequantize()
        layer.weight.data = graph.held(name, rounded)
        layer.bias.data += wanted[name] - channel_means(outputs_of(other, [name], images)[name])
    return other


def test_it_is_the_plain_way_layer_by_layer(plain, graph, images):
    model = methods.get("corrected-tensor").quantize(graph, WIDTHS, images)
    torch.testing.assert_close(model(images), plain(images))
    torch.testing.assert_close(model(images[:3] * 2), plain(images[:3] * 2))  # other images


def test_means_are_the_float_models_afterwards(plain, folded, images):
    found, wanted = (outputs_of(module, WIDTHS, images) for module in (plain, folded))
    for name in WIDTHS:
        torch.testing.assert_close(channel_means(found[name]), channel_means(wanted[name]))


@pytest.mark.parametrize("name", ["corrected-tensor", "corrected-channel"])
def test_the_mean_logits_are_those_of_the_float_model(graph, images, name):
    model = quantize(graph, 3, method=name, calibration=images)
    torch.testing.assert_close(model(images).mean(0), graph.logits(images).mean(0))
    plain = quantize(graph, 3, method=name.replace("corrected", "w"))
    float_ = graph.logits(images)
    assert (model(images) - float_).norm() < (plain(images) - float_).norm()


def test_one_layer_is_corrected_by_the_mean_of_its_input():
    torch.manual_seed(0)
    layer = nn.Linear(30, 4)
    x = torch.rand(50, 30)
    graph = Graph.trace(layer.eval(), x[:2])
    model = methods.get("corrected-channel").quantize(graph, {"weight": 2}, x)
    error = layer.weight - model.variants["weight"].weight.dequantize()
    (shift,) = model.biases.values()
    torch.testing.assert_close(shift, (error @ x.mean(0)).detach())  # E[Wx] - E[Q(W)x], eq. 15


def test_it_is_not_local(graph, images):
    method = methods.get("corrected-tensor")
    assert not method.local
    assert method.calibrated
    narrow, wide = (method.quantize(graph, {"first": bits, "head": 4}, images) for bits in (2, 8))
    head = graph.layers["head"].sites[0]
    assert not torch.allclose(narrow.biases[head], wide.biases[head])
    for layer in ("head",):
        a, b = narrow.variants[layer].weight, wide.variants[layer].weight
        assert torch.equal(a.integers, b.integers)


def test_tokens_count_as_positions():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Flatten(), nn.Linear(24, 3)).eval()
    x = torch.randn(30, 4, 5)
    graph = Graph.trace(module, x[:2])
    model = quantize(graph, 2, method="corrected-tensor", calibration=x)
    torch.testing.assert_close(model(x).mean(0), module(x).mean(0).detach())
    assert [len(b) for b in model.biases.values()] == [6, 3]


def test_corrections_are_part_of_the_biases(graph, images):
    corrected = quantize(graph, 4, method="corrected-tensor", calibration=images)
    plain = quantize(graph, 4)
    assert corrected.model_size == plain.model_size + 4 * 10  # the hidden layer had none
    assert quantize(graph, {"first": 4}, method="corrected-tensor", calibration=images).model_size \
        == quantize(graph, {"first": 4}).model_size  # fmt: skip


def test_it_needs_images(graph):
    with pytest.raises(InputError, match="'corrected-tensor' needs calibration images"):
        quantize(graph, 4, method="corrected-tensor")
    with pytest.raises(InputError, match="a layer 'none': the layers"):
        methods.get("corrected-tensor").quantize(graph, {"none": 4}, torch.zeros(2, 3, 8, 8))
