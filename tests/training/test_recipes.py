"""Each recipe does what it is for, and none of them does anything unless it is asked for."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ltqlib.config import RANGES, from_profile
from ltqlib.errors import InputError
from ltqlib.training import train_network
from ltqlib.training.samplers import Deferred, make_batches
from ltqlib.training.stage1 import finished

CPU = torch.device("cpu")
TINY = {"imbalance_factor": 0.1, "width": 1 / 32}


def trained(digits, **changes):
    return train_network(from_profile("smoke", **{**TINY, "epochs": 6, **changes}), digits, CPU)[0]


@pytest.fixture(scope="module")
def plain(digits):
    return trained(digits)


def loss_of(network, data, move=None):
    """Mean cross-entropy of the training images, with weights moved by ``move`` if given."""
    parameters = list(network.parameters())
    pixels = torch.from_numpy(data.images).permute(0, 3, 1, 2)
    with torch.no_grad():
        before = [p.clone() for p in parameters]
        for p, m in zip(parameters, move or [], strict=bool(move)):
            p.add_(m)
        value = float(F.cross_entropy(network(pixels), torch.from_numpy(data.labels)))
        for p, b in zip(parameters, before, strict=True):
            p.copy_(b)
    return value


def sharpness(network, data, rho):
    """Rise of the training loss at the highest point within ``rho``, to first order."""
    network = finished(network)
    pixels = torch.from_numpy(data.images).permute(0, 3, 1, 2)
    loss = F.cross_entropy(network(pixels), torch.from_numpy(data.labels))
    gradients = torch.autograd.grad(loss, list(network.parameters()))
    norm = torch.stack([g.norm() for g in gradients]).norm()
    return loss_of(network, data, [rho * g / norm for g in gradients]) - loss_of(network, data)


def test_sam_ends_where_the_loss_is_flatter(digits, plain):
    flat = trained(digits, sam=0.3)
    assert sharpness(flat, digits, 0.3) < 0.7 * sharpness(plain, digits, 0.3)


def test_weight_decay_makes_weights_small(digits, plain):
    decayed = trained(digits, weight_decay=5e-2)

    def size(network):
        return float(network.get_parameter("backbone.L14.layer.weight").detach().norm())

    assert size(decayed) < 0.7 * size(plain)


def test_label_smoothing_keeps_logits_small(digits, plain):
    smooth = trained(digits, smoothing=0.3)
    pixels = torch.from_numpy(digits.images).permute(0, 3, 1, 2)
    with torch.no_grad():
        spread = [float(network(pixels).std()) for network in (plain, smooth)]
    assert spread[1] < 0.8 * spread[0]


def test_deferred_reweighting_raises_the_rare_classes(digits):
    """The last fifth of the steps is enough to move the mean logits towards the tail."""
    tail = list(digits.groups["tail"])
    pixels = torch.from_numpy(digits.test.images).permute(0, 3, 1, 2)

    def favour(network):
        with torch.no_grad():
            logits = network(pixels).softmax(1)
        return float(logits[:, tail].sum(1).mean())

    plain, late = (trained(digits, epochs=5, deferred=d) for d in ("none", "reweight"))
    assert favour(late) > favour(plain)


def test_deferred_resampling_balances_the_last_fifth_of_the_passes(digits):
    config = from_profile("smoke", **TINY)
    early, late = (
        make_batches(config, digits.images, digits.labels, sampler, 0, CPU)
        for sampler in ("instance", "class")
    )
    batches = Deferred(early, late, epochs=10)
    assert len(batches) == len(early)

    def share_of_tail(epochs):
        labels = [y for epoch in epochs for _, y in batches.epoch(epoch)]
        return np.isin(torch.cat(labels).numpy(), digits.groups["tail"]).mean()

    expected = sum(digits.counts[c] for c in digits.groups["tail"]) / sum(digits.counts)
    assert share_of_tail(range(8)) == pytest.approx(expected, abs=0.03)
    assert share_of_tail((8, 9)) == pytest.approx(0.6, abs=0.06)


def test_resampling_late_equals_the_plain_training_until_then(digits):
    losses = []
    for deferred in ("none", "resample"):
        config = from_profile("smoke", epochs=5, deferred=deferred, **TINY)
        losses.append([row["loss"] for row in train_network(config, digits, CPU)[1]["history"]])
    plain, late = losses
    assert plain[:4] == late[:4]
    assert plain[4] != late[4]


@pytest.mark.parametrize(
    "changes",
    [
        {"sam": 0.1},
        {"ema": 0.99},
        {"swa": 0.25},
        {"smoothing": 0.1},
        {"deferred": "reweight"},
        {"schedule": "constant"},
        {"stage2_smooth_head": 0.3},
        {"stage2_norm": "shifted"},
        {"weight_decay": 1e-3},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_recipe_is_part_of_the_digest_only_where_it_is_used(changes):
    plain = from_profile("laptop", imbalance_factor=0.01)
    assert plain.digest() == "d04090dd634d"  # as the networks that are trained are called
    changed = from_profile("laptop", imbalance_factor=0.01, **changes)
    assert changed.digest() != plain.digest()
    (name,) = changes
    default = type(plain).__dataclass_fields__[name].default
    off = from_profile("laptop", imbalance_factor=0.01, **{name: default})
    assert off.digest() == plain.digest()


@pytest.mark.parametrize(
    "changes",
    [{"sam": -1}, {"ema": 1.0}, {"swa": 2}, {"holdout": 0.9}, {"deferred": "DRW"}],
    ids=lambda changes: next(iter(changes)),
)
def test_a_recipe_that_makes_no_sense_is_refused(changes):
    (name,) = changes
    with pytest.raises(InputError, match=name):
        from_profile("smoke", **changes)


def test_every_number_of_a_recipe_has_a_range():
    assert {"sam", "ema", "swa", "smoothing", "holdout"} <= RANGES.keys()
