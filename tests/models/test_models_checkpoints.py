"""Checkpoints come back bit for bit, or are refused with nothing loaded."""

import pytest
import torch
from torch import nn

from ltqlib.config import from_profile
from ltqlib.errors import InputError
from ltqlib.models import (
    build,
    load_checkpoint,
    load_heads,
    read_tensors,
    round_to_float16,
    save_checkpoint,
    with_head,
    write_tensors,
)
from ltqlib.models.networks import vgg16

TINY = from_profile("smoke", width=1 / 32)


def state(network):
    return {k: v.clone() for k, v in network.state_dict().items() if "num_batches" not in k}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


@pytest.fixture
def checkpoint(tmp_path):
    """(network, path, sha256) of a saved checkpoint."""
    network = build(TINY, 10)
    round_to_float16(network)
    path = tmp_path / "run" / "model.safetensors"
    return network, path, save_checkpoint(network, path)


@pytest.mark.parametrize("checked", [True, False])
def test_a_checkpoint_comes_back_bit_for_bit(checkpoint, checked):
    network, path, sha256 = checkpoint
    other = build(from_profile("smoke", width=1 / 32, seed=1), 10)
    assert not same(state(other), state(network))
    load_checkpoint(other, path, sha256 if checked else None)
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
        load_checkpoint(network, path, sha256)
    assert same(state(network), before)


def test_a_truncated_file_is_refused_without_its_sum(checkpoint):
    _, path, _ = checkpoint
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="truncated"):
        read_tensors(path)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        pytest.param(lambda: vgg16(1 / 16, 10), "other shapes", id="width"),
        pytest.param(lambda: vgg16(1 / 32, 3), "other shapes", id="classes"),
        pytest.param(lambda: nn.Linear(2, 2), "another network", id="architecture"),
    ],
)
def test_a_checkpoint_of_another_network_is_refused(checkpoint, make, says):
    _, path, sha256 = checkpoint
    with pytest.raises(InputError, match=says):
        load_checkpoint(make(), path, sha256)


def test_rounding_to_float16_is_idempotent():
    network = build(TINY, 10)
    round_to_float16(network)
    once = state(network)
    round_to_float16(network)
    assert same(state(network), once)
    assert all(torch.equal(value, value.half().float()) for value in once.values())


def test_a_head_from_disk_replaces_the_classifier(tmp_path):
    network = build(TINY, 10).eval()
    weight = torch.randn(10, network.classifier.in_features).half().float()
    bias = torch.randn(10).half().float()
    write_tensors({"crt.weight": weight, "crt.bias": bias}, tmp_path / "heads.safetensors")
    heads = load_heads(read_tensors(tmp_path / "heads.safetensors"))
    changed = with_head(network, heads["crt"])
    pixels = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    expected = network.features(pixels) @ weight.T + bias
    torch.testing.assert_close(changed(pixels), expected)
    assert not torch.equal(network.classifier.weight, weight)
