"""Training: the schedule, the losses, and that an interrupted run ends like any other."""

import math
import shutil
from unittest import mock

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from ltqlib.first import data
from ltqlib.first import train as training
from ltqlib.first.config import LOSSES, SAMPLERS, from_profile
from ltqlib.first.data import Batches
from ltqlib.first.losses import CosineClassifier, as_linear, make_loss
from ltqlib.first.models import Normalize, ResidualBlock, build

CPU = torch.device("cpu")
TINY = {"width": 1 / 32, "imbalance_factor": 0.1}
CONFIG = from_profile("smoke", epochs=3, **TINY)
COUNTS = [500, 120, 30, 7]
GENERATOR = torch.Generator().manual_seed(0)
LOGITS = torch.randn(40, 4, generator=GENERATOR)
LABELS = torch.randint(0, 4, (40,), generator=GENERATOR)


def weights(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def loss_and_gradient(name, counts, done=0.0):
    logits = LOGITS.clone().requires_grad_()
    value = make_loss(name, counts, CPU)(logits, LABELS, done)
    value.backward()
    return value.detach(), logits.grad


def brute_force(logits, weight):
    """Weighted mean cross-entropy in float64, by the definition."""
    terms = log_softmax(logits.astype(float), axis=1)[np.arange(len(logits)), LABELS]
    return -(weight[LABELS] * terms).sum() / weight[LABELS].sum()


def effective_number_weights(counts):
    """Inverse of the geometric sum ``1 + beta + ... + beta**(n-1)``, mean 1."""
    inverse = np.array([1 / sum(0.9999**i for i in range(n)) for n in counts])
    return inverse / inverse.mean()


@pytest.mark.parametrize("warmup", [0.0, 0.05, 0.3], ids=lambda share: f"warmup {share}")
def test_learning_rate_rises_to_its_peak_and_falls_to_zero(warmup):
    rates = np.array([training.learning_rate(step, 200, 0.5, warmup) for step in range(200)])
    rising = max(1, round(warmup * 200))
    assert rates.max() == rates[rising - 1] == 0.5
    assert np.all(np.diff(rates[:rising]) > 0)
    assert np.all(np.diff(rates[rising:]) < 0)
    assert 0 < rates[-1] < 1e-3 * 0.5


def test_learning_rate_steps_as_in_ldam_drw():
    """cifar_train.py, 200 epochs: 5 of warm-up, x 0.01 from 160 on, x 0.0001 from 180 on."""
    rates = [training.learning_rate(epoch, 200, 0.1, 5 / 200, "step") for epoch in range(200)]
    np.testing.assert_allclose(rates[:5], [0.02, 0.04, 0.06, 0.08, 0.1])
    assert set(rates[5:160]) == {0.1}
    np.testing.assert_allclose(rates[160:180], 1e-3)
    np.testing.assert_allclose(rates[180:], 1e-5)


def test_learning_rate_falls_as_torch_cosine_annealing():
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.5)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=90)
    for step in range(10, 100):
        rate = training.learning_rate(step, 100, 0.5, 0.1)
        assert rate == pytest.approx(schedule.get_last_lr()[0], abs=1e-9)
        optimizer.step()
        schedule.step()


def test_balanced_softmax_and_logit_adjusted_have_the_same_gradient():
    (one, first), (other, second) = (
        loss_and_gradient(name, COUNTS) for name in ("balanced-softmax", "logit-adjusted")
    )
    torch.testing.assert_close(first, second, rtol=0, atol=1e-7)
    torch.testing.assert_close(one, other)
    assert not torch.allclose(first, loss_and_gradient("ce", COUNTS)[1], atol=1e-3)


@pytest.mark.parametrize("name", ["class-weighted", "balanced-softmax", "logit-adjusted"])
def test_equal_counts_make_plain_cross_entropy(name):
    plain, gradient = loss_and_gradient("ce", [50] * 4)
    value, its_gradient = loss_and_gradient(name, [50] * 4)
    torch.testing.assert_close(value, plain)
    torch.testing.assert_close(its_gradient, gradient, rtol=0, atol=1e-7)


def test_balanced_softmax_adds_log_counts():
    expected = brute_force(LOGITS.numpy() + np.log(COUNTS), np.ones(4))
    assert float(loss_and_gradient("balanced-softmax", COUNTS)[0]) == pytest.approx(expected, 1e-5)


def test_class_weights_are_inverse_effective_numbers():
    expected = brute_force(LOGITS.numpy(), effective_number_weights(COUNTS))
    assert float(loss_and_gradient("class-weighted", COUNTS)[0]) == pytest.approx(expected, 1e-4)


@pytest.mark.parametrize("done", [0.0, 0.79, 0.8], ids=lambda done: f"done {done}")
@pytest.mark.parametrize("counts", [[50] * 4, COUNTS], ids=["uniform", "long-tailed"])
def test_ldam_subtracts_margins_and_reweights_late(counts, done):
    margins = np.array([0.5 * (min(counts) / n) ** 0.25 for n in counts])
    shifted = LOGITS.numpy().copy()
    for row, label in enumerate(LABELS):
        shifted[row, label] -= margins[label]
    weight = effective_number_weights(counts) if done >= 0.8 else np.ones(4)
    value, _ = loss_and_gradient("ldam-drw", counts, done)
    assert float(value) == pytest.approx(brute_force(30 * shifted, weight), rel=1e-4)


def test_the_linear_form_of_a_cosine_classifier_decides_alike():
    cosine = CosineClassifier(6, 4, bias=False)
    features = torch.randn(200, 6, generator=GENERATOR)
    linear = as_linear(cosine)(features)
    assert torch.equal(linear.argmax(1), cosine(features).argmax(1))
    torch.testing.assert_close(linear / features.norm(dim=1, keepdim=True), cosine(features))


def test_normalization_is_mean_and_deviation_of_the_channels(digits):
    network = build(CONFIG, 10)
    images = digits.train_images[:100].copy()
    images[..., 1] //= 2
    training.set_normalization(network, images)
    mean, std = (getattr(network.normalize, name).flatten().numpy() for name in ("mean", "std"))
    np.testing.assert_allclose(mean, images.mean((0, 1, 2)), rtol=1e-3)
    np.testing.assert_allclose(std, images.std((0, 1, 2)), rtol=1e-3)


@pytest.fixture(scope="module")
def uninterrupted(digits):
    """(weights, history) of a run that was left alone."""
    network, payload = training.train(CONFIG, digits, CPU)
    return weights(network), payload["history"]


@pytest.fixture
def interrupted(digits, tmp_path, monkeypatch):
    """Path of the state that a run leaves when the power goes in its third epoch."""
    state, whole = tmp_path / "run" / "state.safetensors", Batches.epoch

    def power_cut(self, epoch):
        for step, batch in enumerate(whole(self, epoch)):
            if (epoch, step) == (2, 1):
                raise RuntimeError("power cut")
            yield batch

    with monkeypatch.context() as patch:
        patch.setattr(Batches, "epoch", power_cut)
        with pytest.raises(RuntimeError, match="power cut"):
            training.train(CONFIG, digits, CPU, state)
    return state


def epochs_run(monkeypatch):
    """A list that fills with the epochs that are trained from now on."""
    seen, whole = [], Batches.epoch
    monkeypatch.setattr(Batches, "epoch", lambda self, e: seen.append(e) or whole(self, e))
    return seen


def test_a_resumed_run_ends_bit_for_bit_like_an_uninterrupted_one(
    digits, uninterrupted, interrupted, monkeypatch
):
    seen = epochs_run(monkeypatch)
    network, payload = training.train(CONFIG, digits, CPU, interrupted)
    assert seen == [2]
    assert same(weights(network), uninterrupted[0])
    for key in ("epoch", "loss"):
        assert [r[key] for r in payload["history"]] == [r[key] for r in uninterrupted[1]]


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
    digits, uninterrupted, interrupted, monkeypatch, damage
):
    interrupted.write_bytes(damage(interrupted.read_bytes()))
    seen = epochs_run(monkeypatch)
    network, _ = training.train(CONFIG, digits, CPU, interrupted)
    assert seen == [0, 1, 2]
    assert same(weights(network), uninterrupted[0])


def test_the_result_is_at_float16_precision_and_finite(uninterrupted):
    for name, value in uninterrupted[0].items():
        assert torch.isfinite(value).all(), name
        assert torch.equal(value.half().to(value.dtype), value), name


@pytest.mark.parametrize("loss", LOSSES)
def test_the_training_loss_falls(digits, loss):
    config = from_profile("smoke", epochs=4, loss=loss, **TINY)
    network, payload = training.train(config, digits, CPU)
    losses = [row["loss"] for row in payload["history"]]
    assert len(losses) == payload["epochs"] == 4
    assert losses[2] < losses[0]  # before LDAM re-weights
    assert all(map(math.isfinite, losses))
    assert not network.training


def test_training_walks_through_the_whole_schedule(digits, monkeypatch):
    seen, whole = [], training.learning_rate

    def learning_rate(step, steps, peak, warmup, schedule):
        seen.append((step, steps))
        return whole(step, steps, peak, warmup)

    monkeypatch.setattr(training, "learning_rate", learning_rate)
    training.train(CONFIG, digits, CPU)
    assert seen == [(step, len(seen)) for step in range(len(seen))]


def test_the_length_of_training_counts_images_not_epochs(digits):
    config = from_profile("smoke", train_images=1_000, **TINY)
    images = sum(digits.long_tailed(0.1)[0])
    _, payload = training.train(config, digits, CPU)
    assert payload["epochs"] == round(1_000 / images)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_loss_with_every_sampler_learns(
    loss: str, sampler: str, digits: data.Dataset
) -> None:
    config = from_profile(
        "smoke", imbalance_factor=0.5, width=1 / 32, epochs=2, loss=loss, sampler=sampler
    )
    network, payload = training.train(config, digits, torch.device("cpu"))
    losses = [row["loss"] for row in payload["history"]]
    assert losses[1] < losses[0]
    assert isinstance(network.classifier, torch.nn.Linear)
    assert type(network.classifier).forward is torch.nn.Linear.forward  # also after LDAM


@pytest.mark.parametrize(
    ("arch", "images", "device", "pays"),
    [
        ("resnet32", 2_000_000, "cpu", True),
        ("resnet32", 150_000, "cpu", False),
        ("vgg16", 2_000_000, "cpu", False),
        ("resnet32", 2_000_000, "cuda", False),
    ],
)
def test_compiled_where_it_pays(arch, images, device, pays, monkeypatch):
    device = torch.device(device)
    monkeypatch.setattr(training, "has_bf16_units", lambda _: True)
    monkeypatch.setattr(training.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert training.pays_to_compile(arch, images, device) is pays
    monkeypatch.setattr(training.shutil, "which", lambda name: None)
    assert not training.pays_to_compile(arch, images, device)
    monkeypatch.setattr(training, "has_bf16_units", lambda _: False)
    monkeypatch.setattr(training.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert not training.pays_to_compile(arch, images, device)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
def test_a_compiled_training_is_the_same_and_goes_on_where_it_stopped(digits, tmp_path):
    batches = training.make_batches(
        CONFIG, digits.train_images[:512], digits.train_labels[:512], "instance", 0, CPU
    )

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
        history = training.fit(
            network, list(network.parameters()), source, make_loss("ce", [1] * 10, CPU),
            epochs=2, lr=0.05, momentum=0.9, weight_decay=1e-4, warmup=0.0,
            resume=resume, progress="", compiled=compiled,
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
