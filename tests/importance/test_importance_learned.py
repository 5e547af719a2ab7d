"""Learned step sizes: LSQ's gradient by hand, and that they lower the loss."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_classes import BITS, LABELS, LAYERS

from ltqlib import importance
from ltqlib.errors import InputError
from ltqlib.importance.learned import learned_step_quantize


@pytest.mark.parametrize("bits", BITS)
def test_the_step_size_has_lsqs_forward_and_gradient(bits):
    torch.manual_seed(0)
    weight, quant_max = torch.randn(3, 2, 3, 3, dtype=torch.float64), 2 ** (bits - 1) - 1
    step = torch.tensor(2.0 / quant_max / 1.7, dtype=torch.float64, requires_grad=True)
    found = learned_step_quantize(weight, step, bits)
    upstream = torch.randn_like(found)
    found.backward(upstream)
    scaled = weight.numpy() / step.item()
    clipped = np.abs(scaled) >= quant_max
    assert clipped.any()
    assert not clipped.all()
    whole = np.round(np.clip(scaled, -quant_max, quant_max))
    np.testing.assert_allclose(found.detach(), whole * step.item())
    local = np.where(clipped, np.sign(scaled) * quant_max, whole - scaled)  # LSQ, eq. 3
    expected = np.sum(upstream.numpy() * local) / np.sqrt(quant_max * weight.numel())
    assert step.grad.item() == pytest.approx(expected)


def learn(graph, images, **given):
    given = {"bits": (4, 2), "steps": 60, "batch": 12, "learning_rate": 0.02} | given
    return importance.learned_importance(graph, images, LABELS, **given)


def test_learned_steps_lower_the_loss_and_come_again(graph, images):
    before = {name: value.clone() for name, value in graph.traced.constants.items()}
    first, last = learn(graph, images, learning_rate=0.0), learn(graph, images)
    share = importance.image_shares(LABELS, {"all": [0, 1, 2]}).values[0]

    def loss(steps):
        rounded = {
            name: learned_step_quantize(
                graph.weight(name), torch.tensor(float(steps.sel(layer=name, bits=2))), 2
            )
            for name in LAYERS
        }
        outputs = graph.module(rounded)(images)
        losses = F.cross_entropy(outputs, torch.from_numpy(LABELS), reduction="none")
        return float((losses.numpy() * share).sum())

    assert last.dims == ("layer", "bits")
    assert (np.abs(np.log(last / first)) < 60 * 0.02 * 1.5).all()  # none ran away
    assert loss(last) < loss(first)
    np.testing.assert_array_equal(learn(graph, images), last)
    assert (learn(graph, images, seed=1) != last).any()
    assert all(torch.equal(v, before[k]) for k, v in graph.traced.constants.items())


def test_bad_settings_are_refused(graph, images):
    with pytest.raises(InputError, match="at least 1 step"):
        learn(graph, images, steps=0)
    with pytest.raises(InputError, match="9 bits"):
        learn(graph, images, bits=(9,))
