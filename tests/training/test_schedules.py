"""The learning rate of every step."""

import numpy as np
import pytest
import torch

from ltqlib.training.schedules import learning_rate


@pytest.mark.parametrize("warmup", [0.0, 0.05, 0.3], ids=lambda share: f"warmup {share}")
def test_rises_to_its_peak_and_falls_to_zero(warmup):
    rates = np.array([learning_rate(step, 200, 0.5, warmup) for step in range(200)])
    rising = max(1, round(warmup * 200))
    assert rates.max() == rates[rising - 1] == 0.5
    assert np.all(np.diff(rates[:rising]) > 0)
    assert np.all(np.diff(rates[rising:]) < 0)
    assert 0 < rates[-1] < 1e-3 * 0.5


def test_steps_as_in_ldam_drw():
    """cifar_train.py, 200 epochs: 5 of warm-up, x 0.01 from 160 on, x 0.0001 from 180 on."""
    rates = [learning_rate(epoch, 200, 0.1, 5 / 200, "step") for epoch in range(200)]
    np.testing.assert_allclose(rates[:5], [0.02, 0.04, 0.06, 0.08, 0.1])
    assert set(rates[5:160]) == {0.1}
    np.testing.assert_allclose(rates[160:180], 1e-3)
    np.testing.assert_allclose(rates[180:], 1e-5)


def test_falls_as_torch_cosine_annealing():
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.5)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=90)
    for step in range(10, 100):
        rate = learning_rate(step, 100, 0.5, 0.1)
        assert rate == pytest.approx(schedule.get_last_lr()[0], abs=1e-9)
        optimizer.step()
        schedule.step()


def test_constant_stays_at_its_peak_after_the_same_warmup():
    rates = [learning_rate(step, 100, 0.5, 0.1, "constant") for step in range(100)]
    assert rates[:10] == [learning_rate(step, 100, 0.5, 0.1) for step in range(10)]
    assert set(rates[10:]) == {0.5}
