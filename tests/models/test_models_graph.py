"""The graph of the library's networks: names, folding, costs, the plain way, samples of inputs."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils.flop_counter import FlopCounterMode

from ltqlib.errors import InputError
from ltqlib.models import Graph, graph_of, layer_names
from ltqlib.models.networks import ConvUnit

ARCHITECTURES = ("vgg16", "resnet32")


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_logits_are_those_of_the_network(networks, graphs, images, arch):
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
    with torch.inference_mode():
        expected = networks[arch](pixels)
    logits = graphs[arch].logits(pixels)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(logits.argmax(1), expected.argmax(1))
    assert len(logits.argmax(1).unique()) > 3


@pytest.mark.parametrize("batch", [1, 7])
def test_logits_do_not_depend_on_the_batch_size(graphs, images, batch):
    graph = graphs["vgg16"]
    whole = graph.logits(graph.pixels(images))
    parts = torch.cat([graph.logits(pixels) for pixels in graph.batches(images, batch)])
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("arch", "linear"), [("vgg16", 3), ("resnet32", 1)])
def test_every_layer_is_found_by_its_name(networks, graphs, arch, linear):
    layers, network = graphs[arch].layers, networks[arch]
    assert list(layers) == list(layer_names(network).values())
    kinds = [layer.kind for layer in layers.values()]
    assert kinds == ["conv"] * (len(layers) - linear) + ["linear"] * linear
    assert not graphs[arch].skipped
    assert graphs[arch].classes == 10
    for path, name in layer_names(network).items():
        weight = network.get_submodule(path).weight
        assert layers[name].weight_shape == tuple(weight.shape)
        assert layers[name].parameters == weight.numel()


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_macs_agree_with_torch_flop_counter(networks, graphs, arch):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        networks[arch](torch.zeros(1, 3, 32, 32))
    macs = sum(layer.macs for layer in graphs[arch].layers.values())
    assert 2 * macs == counter.get_total_flops()


def test_folding_agrees_with_torch_fusion(networks, graphs):
    graph = graphs["vgg16"]
    for name, unit in networks["vgg16"].backbone.named_children():
        if isinstance(unit, ConvUnit):
            fused = fuse_conv_bn_eval(unit.layer, unit.norm)
            torch.testing.assert_close(graph.weight(name), fused.weight.data, rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(graph.bias(name), fused.bias.data, rtol=1e-4, atol=1e-5)


def test_tracing_leaves_the_network_as_it_was(networks):
    network = copy.deepcopy(networks["vgg16"]).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    graph_of(network)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(module.training for module in network.modules())
    assert all(parameter.requires_grad for parameter in network.parameters())


@pytest.fixture(scope="module")
def small():
    """(module, graph) without BatchNorm, so that its weights are the graph's."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4 * 36, 6),
        nn.GELU(),
        nn.Linear(6, 5),
    ).eval()
    return module, Graph.trace(module, torch.randn(1, 3, 8, 8))


def test_a_module_with_replaced_weights_is_the_changed_copy(small):
    module, graph = small
    changed, x = copy.deepcopy(module), torch.randn(4, 3, 8, 8)
    weights = {name: torch.randn_like(graph.weight(name)) for name in ("0", "5")}
    for name, weight in weights.items():
        changed.get_submodule(name).weight.data = weight
    torch.testing.assert_close(graph.module(weights)(x), changed(x))
    torch.testing.assert_close(graph.module()(x), module(x))


def test_gradients_flow_into_replaced_weights(small):
    module, graph = small
    weight, x = graph.weight("3").clone().requires_grad_(), torch.randn(4, 3, 8, 8)
    graph.module({"3": weight})(x).square().sum().backward()
    module(x).square().sum().backward()
    torch.testing.assert_close(weight.grad, module[3].weight.grad)
    module.zero_grad()


def test_changed_inputs_are_those_of_hooks(small):
    module, graph = small
    changed, x = copy.deepcopy(module), torch.randn(4, 3, 8, 8)
    changed[3].register_forward_pre_hook(lambda _, inputs: (inputs[0].round(),))
    torch.testing.assert_close(graph.module(inputs={"3": torch.round})(x), changed(x))


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_samples_hold_the_extremes_of_every_input(networks, graphs, images, arch):
    seen = {}
    network = copy.deepcopy(networks[arch])

    def watch(name):
        return lambda _, inputs: seen.setdefault(name, []).append(inputs[0])

    for path, name in layer_names(network).items():
        network.get_submodule(path).register_forward_pre_hook(watch(name))
    for start in range(0, 40, 16):
        network(torch.from_numpy(images[start : start + 16]).permute(0, 3, 1, 2))
    samples = graphs[arch].sample_inputs(images, batch=16, values=900)
    assert list(samples) == list(graphs[arch].layers)
    for name, sample in samples.items():
        values = torch.cat([x.reshape(-1) for x in seen[name]])
        torch.testing.assert_close(sample.min(), values.min(), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(sample.max(), values.max(), rtol=1e-4, atol=1e-4)
        assert len(sample) <= max(2 * 900, len(values))


def test_bad_input_is_refused(small):
    _, graph = small
    with pytest.raises(InputError, match="there is no layer '9': the layers are 0, 3, 5"):
        graph.weight("9")
    with pytest.raises(InputError, match=r"images have shape \(3, 9, 9\)"):
        graph.logits(torch.randn(2, 3, 9, 9))
    with pytest.raises(InputError, match=r"images have shape \(3, 10, 10\)"):
        graph.pixels(np.zeros((2, 10, 10, 3), np.uint8))
