"""Heads that need no training."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from ltqlib.training import head_of, logit_adjusted, tau_normalized

COUNTS = (500, 120, 30, 7)


@pytest.fixture(scope="module")
def head():
    generator = torch.Generator().manual_seed(0)
    return {
        "weight": torch.randn(4, 6, generator=generator),
        "bias": torch.randn(4, generator=generator),
    }


@pytest.mark.parametrize("tau", [0.0, 1.0, 1.5], ids=lambda tau: f"tau {tau}")
def test_logit_adjustment_subtracts_log_priors(head, tau):
    features = torch.randn(20, 6, generator=torch.Generator().manual_seed(1))
    adjusted = logit_adjusted(head, COUNTS, tau)
    prior = np.array(COUNTS) / sum(COUNTS)
    found = F.linear(features, adjusted["weight"], adjusted["bias"]).numpy()
    plain = F.linear(features, head["weight"], head["bias"]).numpy()
    np.testing.assert_allclose(found, plain - tau * np.log(prior), atol=1e-5)


@given(scale=st.integers(1, 50))
def test_logit_adjustment_knows_shares_alone(head, scale):
    counts = [scale * n for n in COUNTS]
    found, expected = (logit_adjusted(head, n)["bias"] for n in (counts, COUNTS))
    torch.testing.assert_close(found, expected)


def test_tau_one_makes_every_row_a_unit_vector(head):
    found = tau_normalized(head, 1.0)
    torch.testing.assert_close(found["weight"].norm(dim=1), torch.ones(4), atol=2e-3, rtol=0)
    assert not found["bias"].any()


def test_tau_zero_keeps_the_weights(head):
    found = tau_normalized(head, 0.0)["weight"]
    torch.testing.assert_close(found, head["weight"].half().float(), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(("change", "how"), [(logit_adjusted, (COUNTS,)), (tau_normalized, (1,))])
def test_the_given_head_stays_and_what_else_it_holds_is_passed_on(head, change, how):
    whole = {**head, "backbone.L1.norm.running_mean": torch.ones(3)}
    before = {name: value.clone() for name, value in whole.items()}
    found = change(whole, *how)
    assert all(torch.equal(whole[name], before[name]) for name in whole)
    assert torch.equal(found["backbone.L1.norm.running_mean"], torch.ones(3))


def test_head_of_a_network_is_its_classifier(smoke_network):
    found = head_of(smoke_network)
    assert torch.equal(found["weight"], smoke_network.classifier.weight)
    assert not found["weight"].requires_grad
