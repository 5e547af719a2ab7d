"""Every loss is what its equation says, computed another way."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax

from ltqlib.config import LOSSES
from ltqlib.errors import InputError
from ltqlib.training.losses import (
    CosineClassifier,
    as_linear,
    class_weights,
    label_aware_smoothing,
    make_loss,
)

CPU = torch.device("cpu")
COUNTS = [500, 120, 30, 7]
GENERATOR = torch.Generator().manual_seed(0)
LOGITS = torch.randn(40, 4, generator=GENERATOR)
LABELS = torch.randint(0, 4, (40,), generator=GENERATOR)


def loss_and_gradient(name, counts, done=0.0, **options):
    logits = LOGITS.clone().requires_grad_()
    value = make_loss(name, counts, CPU, **options)(logits, LABELS, done)
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
    np.testing.assert_allclose(
        class_weights(torch.tensor(COUNTS, dtype=torch.float32)),
        effective_number_weights(COUNTS),
        rtol=1e-3,
    )


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


@pytest.mark.parametrize("name", ["ce", "balanced-softmax", "logit-adjusted"])
def test_deferred_reweighting_is_the_plain_loss_and_then_the_weighted_one(name):
    early = loss_and_gradient(name, COUNTS, 0.79, deferred="reweight")
    late = loss_and_gradient(name, COUNTS, 0.8, deferred="reweight")
    for found, expected in zip(early, loss_and_gradient(name, COUNTS), strict=True):
        assert torch.equal(found, expected)
    shift = np.zeros(4) if name == "ce" else np.log(COUNTS)
    expected = brute_force(LOGITS.numpy() + shift, effective_number_weights(COUNTS))
    assert float(late[0]) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", ["class-weighted", "ldam-drw"])
def test_a_loss_with_weights_is_not_weighted_twice(name):
    with pytest.raises(InputError, match=f"{name}.*use deferred none"):
        make_loss(name, COUNTS, CPU, deferred="reweight")


def test_label_smoothing_is_cross_entropy_with_spread_labels():
    soft = 0.9 * F.one_hot(LABELS, 4) + 0.1 / 4
    value, _ = loss_and_gradient("ce", COUNTS, smoothing=0.1)
    torch.testing.assert_close(value, F.cross_entropy(LOGITS, soft))


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_takes_smoothing(name):
    plain, smooth = (loss_and_gradient(name, COUNTS, smoothing=share)[0] for share in (0.0, 0.2))
    assert torch.isfinite(smooth)
    assert smooth != plain


@given(head=st.floats(0, 1), tail=st.floats(0, 1))
def test_label_aware_smoothing_goes_from_the_tails_share_to_the_heads(head, tail):
    """One-hot rows of large logits read the shares off: the loss is the share times the gap."""
    loss = label_aware_smoothing(COUNTS, head, tail, CPU)
    logits = torch.zeros(4, 4)
    found = [float(loss(logits[:1] + 8 * F.one_hot(torch.tensor([c]), 4), torch.tensor([c])))
             for c in range(4)]  # fmt: skip
    base = float(np.log(1 + 3 * np.exp(-8)))
    shares = [(value - base) / (8 * 3 / 4) for value in found]
    assert shares[0] == pytest.approx(head, abs=1e-5)  # the most frequent class
    assert shares[3] == pytest.approx(tail, abs=1e-5)
    turn = np.sin(np.pi / 2 * (np.array(COUNTS) - 7) / (500 - 7))
    np.testing.assert_allclose(shares, tail + (head - tail) * turn, atol=1e-5)


def test_equal_shares_are_torchs_label_smoothing():
    found = label_aware_smoothing(COUNTS, 0.3, 0.3, CPU)(LOGITS, LABELS)
    torch.testing.assert_close(found, F.cross_entropy(LOGITS, LABELS, label_smoothing=0.3))


def test_label_aware_smoothing_of_equal_counts_is_finite():
    found = label_aware_smoothing([5] * 4, 0.3, 0.1, CPU)(LOGITS, LABELS)
    torch.testing.assert_close(found, F.cross_entropy(LOGITS, LABELS, label_smoothing=0.1))


def test_the_linear_form_of_a_cosine_classifier_decides_alike():
    cosine = CosineClassifier(6, 4, bias=False)
    features = torch.randn(200, 6, generator=GENERATOR)
    linear = as_linear(cosine)(features)
    assert torch.equal(linear.argmax(1), cosine(features).argmax(1))
    torch.testing.assert_close(linear / features.norm(dim=1, keepdim=True), cosine(features))
