"""Stage 1: what it learns, how long it takes, and that an interrupted run ends like any other."""

import math
import shutil
from unittest import mock

import numpy as np
import pytest
import torch

from ltqlib.config import LOSSES, from_profile
from ltqlib.data import Batches
from ltqlib.models import build
from ltqlib.models.networks import Normalize, ResidualBlock
from ltqlib.training import devices, loop, state, train_network
from ltqlib.training.loop import Recipe, fit
from ltqlib.training.losses import make_loss
from ltqlib.training.samplers import make_batches
from ltqlib.training.stage1 import set_normalization

CPU = torch.device("cpu")
TINY = {"width": 1 / 32, "imbalance_factor": 0.1}
CONFIG = from_profile("smoke", epochs=3, **TINY)
RECIPES = {
    "plain": {},
    "sam": {"sam": 0.1},
    "ema": {"ema": 0.9},
    "swa": {"swa": 0.7},
    "resampled": {"deferred": "resample", "mixup": 1.0},
}


def weights(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


@pytest.fixture(autouse=True)
def kept_after_every_epoch(monkeypatch):
    """The state of a training is written after each epoch, however short it is."""
    monkeypatch.setattr(state, "EVERY", 0.0)


def losses(result):
    return [row["loss"] for row in result["history"]]


def cut_in_third_epoch(monkeypatch, config, data, path):
    """Train until the power goes in the third epoch; the state is left at ``path``."""
    whole = Batches.epoch

    def power_cut(self, epoch):
        for step, batch in enumerate(whole(self, epoch)):
            if (epoch, step) == (2, 1):
                raise RuntimeError("power cut")
            yield batch

    with monkeypatch.context() as patch:
        patch.setattr(Batches, "epoch", power_cut)
        with pytest.raises(RuntimeError, match="power cut"):
            train_network(config, data, CPU, path)


def epochs_run(monkeypatch):
    """A list that fills with the epochs that are trained from now on."""
    seen, whole = [], Batches.epoch
    monkeypatch.setattr(Batches, "epoch", lambda self, e: seen.append(e) or whole(self, e))
    return seen


@pytest.fixture(scope="module")
def uninterrupted(digits):
    """(weights, losses) of a run that was left alone."""
    network, result = train_network(CONFIG, digits, CPU)
    return weights(network), losses(result)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_resumed_run_ends_bit_for_bit_like_an_uninterrupted_one(
    digits, tmp_path, monkeypatch, recipe
):
    config = from_profile("smoke", epochs=3, **TINY, **RECIPES[recipe])
    expected, whole = train_network(config, digits, CPU)
    path = tmp_path / "run" / "state.safetensors"
    cut_in_third_epoch(monkeypatch, config, digits, path)
    seen = epochs_run(monkeypatch)
    network, result = train_network(config, digits, CPU, path)
    assert seen[0] == 2
    assert same(weights(network), weights(expected))
    assert losses(result) == losses(whole)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda content: content[: len(content) // 2], id="cut"),
        pytest.param(lambda content: b"", id="empty"),
        pytest.param(lambda content: b"{" * 500, id="garbage"),
        pytest.param(
            lambda content: content[:-1997] + bytes([content[-1997] ^ 64]) + content[-1996:],
            id="one-bit",
        ),
    ],
)
def test_a_damaged_state_means_starting_afresh(
    digits, uninterrupted, tmp_path, monkeypatch, damage
):
    path = tmp_path / "state.safetensors"
    cut_in_third_epoch(monkeypatch, CONFIG, digits, path)
    path.write_bytes(damage(path.read_bytes()))
    seen = epochs_run(monkeypatch)
    network, _ = train_network(CONFIG, digits, CPU, path)
    assert seen == [0, 1, 2]
    assert same(weights(network), uninterrupted[0])


def test_the_state_of_another_network_is_not_taken(digits, tmp_path, monkeypatch):
    path = tmp_path / "state.safetensors"
    other = from_profile("smoke", imbalance_factor=0.1)
    cut_in_third_epoch(monkeypatch, other, digits, path)
    seen = epochs_run(monkeypatch)
    train_network(CONFIG, digits, CPU, path)
    assert seen == [0, 1, 2]


def test_the_state_is_written_now_and_then_not_after_every_epoch(digits, tmp_path, monkeypatch):
    written, whole = [], state.write_whole
    monkeypatch.setattr(state, "write_whole", lambda *a: written.append(a) or whole(*a))
    monkeypatch.setattr(state, "EVERY", 1e9)
    train_network(CONFIG, digits, CPU, tmp_path / "state.safetensors")
    assert not written
    monkeypatch.setattr(state, "EVERY", 0.0)
    train_network(CONFIG, digits, CPU, tmp_path / "state.safetensors")
    assert len(written) == CONFIG.epochs


def test_the_result_is_at_float16_precision_and_finite(uninterrupted):
    for name, value in uninterrupted[0].items():
        assert torch.isfinite(value).all(), name
        assert torch.equal(value.half().to(value.dtype), value), name


@pytest.mark.parametrize("loss", LOSSES)
def test_the_training_loss_falls(digits, loss):
    config = from_profile("smoke", epochs=4, loss=loss, **TINY)
    network, result = train_network(config, digits, CPU)
    found = losses(result)
    assert len(found) == result["epochs"] == 4
    assert found[2] < found[0]  # before LDAM re-weights
    assert all(map(math.isfinite, found))
    assert not network.training


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loss", "sampler"), [*((loss, "class") for loss in LOSSES), ("ce", "square-root")]
)
def test_losses_and_samplers_learn_together(loss, sampler, balanced):
    config = from_profile("smoke", width=1 / 32, epochs=2, loss=loss, sampler=sampler)
    network, result = train_network(config, balanced, CPU)
    assert losses(result)[1] < losses(result)[0]
    assert type(network.classifier).forward is torch.nn.Linear.forward  # also after LDAM


def test_training_walks_through_the_whole_schedule(digits, monkeypatch):
    seen, whole = [], loop.learning_rate

    def learning_rate(step, steps, *rest):
        seen.append((step, steps))
        return whole(step, steps, *rest)

    monkeypatch.setattr(loop, "learning_rate", learning_rate)
    train_network(CONFIG, digits, CPU)
    assert seen == [(step, len(seen)) for step in range(len(seen))]


def test_the_length_of_training_counts_images_not_epochs(digits):
    config = from_profile("smoke", train_images=1_000, **TINY)
    _, result = train_network(config, digits, CPU)
    assert result["epochs"] == round(1_000 / sum(digits.counts))


def test_normalization_is_mean_and_deviation_of_the_channels(balanced):
    network = build(CONFIG, 10)
    images = balanced.images[:100].copy()
    images[..., 1] //= 2
    set_normalization(network, images)
    mean, std = (getattr(network.normalize, name).flatten().numpy() for name in ("mean", "std"))
    np.testing.assert_allclose(mean, images.mean((0, 1, 2)), rtol=1e-3)
    np.testing.assert_allclose(std, images.std((0, 1, 2)), rtol=1e-3)


@pytest.mark.parametrize(
    ("arch", "images", "device", "worth"),
    [
        ("resnet32", 2_000_000, "cpu", True),
        ("resnet32", 150_000, "cpu", False),
        ("vgg16", 2_000_000, "cpu", False),
        ("resnet32", 2_000_000, "cuda", False),
    ],
)
def test_compiled_where_it_is_worth_it(arch, images, device, worth, monkeypatch):
    device = torch.device(device)
    monkeypatch.setattr(devices, "has_bf16_units", lambda _: True)
    monkeypatch.setattr(devices.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert devices.worth_compiling(arch, images, device) is worth
    monkeypatch.setattr(devices.shutil, "which", lambda name: None)
    assert not devices.worth_compiling(arch, images, device)
    monkeypatch.setattr(devices, "has_bf16_units", lambda _: False)
    monkeypatch.setattr(devices.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert not devices.worth_compiling(arch, images, device)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
def test_a_compiled_training_is_the_same_and_goes_on_where_it_stopped(balanced, tmp_path):
    batches = make_batches(CONFIG, balanced.images[:512], balanced.labels[:512], "instance", 0, CPU)

    def trained(compiled, resume=None, stop=2):
        def some(epoch):
            if epoch == stop:
                raise RuntimeError("power cut")
            return batches.epoch(epoch)

        torch.manual_seed(0)
        network = torch.nn.Sequential(
            Normalize(), ResidualBlock(3, 8, 2), torch.nn.Flatten(), torch.nn.LazyLinear(10)
        )
        network(next(batches.epoch(0))[0])  # gives the last layer its shape
        source = mock.MagicMock(wraps=batches, epoch=some)
        source.__len__.return_value = len(batches)
        history = fit(
            network, list(network.parameters()), source, make_loss("ce", [1] * 10, CPU),
            Recipe(epochs=2, lr=0.05, momentum=0.9, weight_decay=1e-4),
            resume=resume, compiled=compiled,
        )  # fmt: skip
        return weights(network), [row["loss"] for row in history]

    (_, plain), (whole, found) = trained(False), trained(True)
    np.testing.assert_allclose(found, plain, rtol=0.05)  # bfloat16, summed in another order
    assert found[1] < 0.9 * found[0]
    path = tmp_path / "state.safetensors"
    with pytest.raises(RuntimeError, match="power cut"):
        trained(True, path, stop=1)
    again, history = trained(True, path)
    assert same(again, whole)
    assert history == found
