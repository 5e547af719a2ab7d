"""Averages of the weights along a training."""

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from ltqlib.config import from_profile
from ltqlib.errors import InputError
from ltqlib.training import Follow, train_network
from ltqlib.training.averaging import Average

CPU = torch.device("cpu")
TINY = {"imbalance_factor": 0.1, "width": 1 / 32}


def walk(average, network, steps, steps_a_pass):
    """Set the weight to 1, 2, 3 ... and let the average see it."""
    for step in range(steps):
        with torch.no_grad():
            network.weight.fill_(step + 1.0)
        average.after_step(step, steps_a_pass)
    return float(average.weights[0].flatten()[0])


def test_swa_is_the_mean_after_each_of_the_last_passes():
    network = nn.Linear(2, 2)
    average = Average(network, ema=0.0, swa=0.5, epochs=6)
    found = walk(average, network, steps=24, steps_a_pass=4)
    assert found == pytest.approx((16 + 20 + 24) / 3)


def test_a_small_share_is_one_pass():
    network = nn.Linear(2, 2)
    average = Average(network, ema=0.0, swa=1e-6, epochs=6)
    assert walk(average, network, steps=24, steps_a_pass=4) == 24


def test_ema_follows_its_equation():
    network = nn.Linear(2, 2)
    average = Average(network, ema=0.8, swa=0.0, epochs=6)
    expected = float(network.weight.detach()[0, 0])
    for step in range(60):
        decay = min(0.8, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * (step + 1)
    assert walk(average, network, steps=60, steps_a_pass=10) == pytest.approx(expected, rel=1e-6)


def test_an_average_of_standing_weights_is_these_weights():
    network = nn.Linear(2, 2)
    average = Average(network, ema=0.99, swa=0.0, epochs=1)
    for step in range(50):
        average.after_step(step, 10)
    torch.testing.assert_close(average.weights[0], network.weight.detach())


def test_both_averages_at_once_are_refused(digits):
    with pytest.raises(InputError, match="ema and swa"):
        train_network(from_profile("smoke", ema=0.9, swa=0.5, **TINY), digits, CPU)


class Images:
    def __init__(self):
        self.batches = torch.randn(5, 16, 3, 8, 8, generator=torch.Generator().manual_seed(0))

    def __len__(self):
        return len(self.batches)

    def epoch(self, epoch):
        return ((images, None) for images in self.batches)


def test_the_averaged_network_has_statistics_of_its_own_as_torch_measures_them():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 3))
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    average = Average(network, ema=0.0, swa=1.0, epochs=1)
    with torch.no_grad():
        average.weights[0].mul_(2)
    found = average.network(network, Images(), epoch=0)
    torch.testing.assert_close(found[0].weight.detach(), 2 * before["0.weight"])
    mean, variance = found[1].running_mean.clone(), found[1].running_var.clone()
    update_bn((images for images, _ in Images().epoch(0)), found)
    torch.testing.assert_close(mean, found[1].running_mean)
    torch.testing.assert_close(variance, found[1].running_var)
    assert found[1].momentum == 0.1
    after = network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("recipe", [{"ema": 0.95}, {"swa": 0.5}], ids=lambda r: next(iter(r)))
def test_averaging_changes_the_result_and_not_the_training(digits, recipe):
    snapshots = []
    follow = Follow((4,), snapshots.append)
    network, result = train_network(
        from_profile("smoke", epochs=4, **TINY, **recipe), digits, CPU, follow=follow
    )
    plain, expected = train_network(from_profile("smoke", epochs=4, **TINY), digits, CPU)
    losses = [[row["loss"] for row in each["history"]] for each in (result, expected)]
    assert losses[0] == losses[1]
    last = snapshots[0].network.state_dict()
    assert all(torch.equal(value, last[name]) for name, value in plain.state_dict().items())
    mean = snapshots[0].average.state_dict()
    assert all(torch.equal(value, mean[name]) for name, value in network.state_dict().items())
    assert not torch.equal(mean["classifier.weight"], last["classifier.weight"])
