"""Networks: names and sizes of the layers, folding, checkpoints, and the reference evaluation."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.vgg import cfgs, make_layers

from ltqlib.first import models
from ltqlib.first.config import from_profile
from ltqlib.first.errors import InputError

TINY = from_profile("smoke", width=1 / 32)


def state(network):
    return {k: v.clone() for k, v in network.state_dict().items() if "num_batches" not in k}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


@pytest.fixture
def checkpoint(tmp_path):
    """(network, path, sha256) of a saved checkpoint."""
    network = models.build(TINY, 10)
    models.round_to_float16(network)
    path = tmp_path / "run" / "model.safetensors"
    return network, path, models.save_checkpoint(network, path)


def test_sixteen_layers_in_order_of_execution(folded_network, smoke_images):
    layers = models.quantizable_layers(folded_network)
    assert list(layers) == [f"L{number}" for number in range(1, 17)]
    assert [type(layer) for layer in layers.values()] == [nn.Conv2d] * 13 + [nn.Linear] * 3
    called, handles = [], []
    for name, layer in layers.items():
        handles.append(layer.register_forward_hook(lambda *_, name=name: called.append(name)))
    models.predict_logits(folded_network, smoke_images[:2])
    for handle in handles:
        handle.remove()
    assert called == list(layers)


def test_full_width_has_the_parameters_of_vgg16():
    convolutions = make_layers(cfgs["D"], batch_norm=True)
    biases = sum(m.out_channels for m in convolutions if isinstance(m, nn.Conv2d))  # ours have none
    expected = sum(p.numel() for p in convolutions.parameters()) - biases
    expected += 2 * (512 * 512 + 512) + 512 * 10 + 10
    assert sum(p.numel() for p in models.vgg16(1.0, 10).parameters()) == expected


def test_layer_costs_agree_with_torch_flop_counter(folded_network):
    costs = models.layer_costs(folded_network)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        folded_network(torch.zeros(1, 3, 32, 32))
    assert 2 * sum(cost["macs"] for cost in costs.values()) == counter.get_total_flops()
    assert {name: cost["parameters"] for name, cost in costs.items()} == {
        name: layer.weight.numel()
        for name, layer in models.quantizable_layers(folded_network).items()
    }


def test_folding_changes_no_prediction(smoke_network, folded_network, smoke_images):
    plain = models.predict_logits(smoke_network, smoke_images)
    folded = models.predict_logits(folded_network, smoke_images)
    assert len(np.unique(plain.argmax(1))) > 5  # the network does tell classes apart
    assert np.array_equal(plain.argmax(1), folded.argmax(1))
    np.testing.assert_allclose(folded, plain, rtol=1e-4, atol=1e-4)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded_network.modules())


def test_folding_agrees_with_torch_fusion(smoke_network, folded_network):
    layers = models.quantizable_layers(folded_network)
    for name, unit in smoke_network.backbone.named_children():
        if isinstance(unit, models.ConvUnit):
            fused = fuse_conv_bn_eval(unit.layer, unit.norm)
            torch.testing.assert_close(layers[name].weight, fused.weight, rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(layers[name].bias, fused.bias, rtol=1e-4, atol=1e-5)


def test_folding_leaves_the_original_as_it_was(smoke_network):
    network = copy.deepcopy(smoke_network).train()
    before = state(network)
    models.fold_batchnorm(network)
    assert same(state(network), before)
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_a_checkpoint_comes_back_bit_for_bit(checkpoint):
    network, path, sha256 = checkpoint
    other = models.build(from_profile("smoke", width=1 / 32, seed=1), 10)
    assert not same(state(other), state(network))
    models.load_checkpoint(other, path, sha256)
    assert same(state(other), state(network))
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        pytest.param(lambda content: content[:-100], "truncated or altered", id="truncated"),
        pytest.param(
            lambda content: content[:-1] + bytes([content[-1] ^ 1]), "altered", id="one-bit"
        ),
        pytest.param(lambda content: b"", "truncated or altered", id="empty"),
        pytest.param(None, "is missing", id="missing"),
    ],
)
def test_a_damaged_checkpoint_is_refused_and_nothing_loaded(checkpoint, damage, says):
    network, path, sha256 = checkpoint
    if damage:
        path.write_bytes(damage(path.read_bytes()))
    else:
        path.unlink()
    before = state(network)
    with pytest.raises(InputError, match=f"^[^\n]*model.safetensors [^\n]*{says}[^\n]*$"):
        models.load_checkpoint(network, path, sha256)
    assert same(state(network), before)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        pytest.param(lambda: models.vgg16(1 / 16, 10), "other shapes", id="width"),
        pytest.param(lambda: models.vgg16(1 / 32, 3), "other shapes", id="classes"),
        pytest.param(
            lambda: models.fold_batchnorm(models.build(TINY, 10)), "another network", id="folded"
        ),
    ],
)
def test_a_checkpoint_of_another_network_is_refused(checkpoint, make, says):
    _, path, sha256 = checkpoint
    with pytest.raises(InputError, match=says):
        models.load_checkpoint(make(), path, sha256)


def test_rounding_to_float16_is_idempotent():
    network = models.build(TINY, 10)
    models.round_to_float16(network)
    once = state(network)
    models.round_to_float16(network)
    assert same(state(network), once)
    assert all(torch.equal(value, value.half().float()) for value in once.values())


@pytest.mark.parametrize("batch", [1, 7, 60])
def test_logits_do_not_depend_on_the_batch_size(smoke_network, smoke_images, batch):
    images = smoke_images[:60]
    whole = models.predict_logits(smoke_network, images)
    parts = models.predict_logits(smoke_network, images, batch)
    assert whole.dtype == np.float32
    np.testing.assert_allclose(parts, whole, rtol=0, atol=1e-4)


def test_the_seed_alone_decides_the_initial_weights():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = models.build(TINY, 10)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    assert same(state(models.build(TINY, 10)), state(first))
    other = models.build(from_profile("smoke", width=1 / 32, seed=1), 10)
    assert not same(state(other), state(first))


@pytest.fixture(scope="module")
def resnet():
    """ResNet-32 with BatchNorm statistics of its own, in eval mode, not folded."""
    network = models.build(from_profile("resnet"), 10)
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
    return network.eval()


def test_resnet32_has_the_parameters_of_the_literature(resnet):
    assert sum(p.numel() for p in resnet.parameters()) == 464_154  # 0.46 M, He et al., table 6


def test_resnet32_has_32_layers_in_order_of_execution(resnet, smoke_images):
    layers = models.quantizable_layers(resnet)
    assert list(layers) == [f"L{number}" for number in range(1, 33)]
    called = []
    handles = [
        layer.register_forward_hook(lambda *_, name=name: called.append(name))
        for name, layer in layers.items()
    ]
    models.predict_logits(resnet, smoke_images[:2])
    for handle in handles:
        handle.remove()
    assert called == list(layers)


def test_folding_resnet32_changes_no_logit(resnet, smoke_images):
    folded = models.fold_batchnorm(resnet)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    np.testing.assert_allclose(
        models.predict_logits(folded, smoke_images[:20]),
        models.predict_logits(resnet, smoke_images[:20]),
        rtol=1e-4,
        atol=1e-4,
    )


def test_the_shortcut_halves_and_pads(smoke_images):
    block = models.ResidualBlock(4, 8, 2).eval()
    nn.init.zeros_(block.second.layer.weight)  # only the shortcut is left
    x = torch.rand(2, 4, 6, 6)
    y = block(x)
    assert torch.equal(y[:, 2:6], x[:, :, ::2, ::2])
    assert not y[:, :2].any()
    assert not y[:, 6:].any()
