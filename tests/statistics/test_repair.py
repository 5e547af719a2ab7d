"""The repair without labels: shares are met, as the optimum of the transport problem has it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, sparse, special

from ltqlib.errors import InputError
from ltqlib.statistics.repair import (
    fit_last_layer,
    match_group_share,
    match_means,
    match_probabilities,
    match_shares,
)


def pair(images: int = 500, classes: int = 10, shift: float = 1.0, seed: int = 0):
    """Float logits, and the same with noise and one shift a class."""
    generator = np.random.default_rng(seed)
    floating = 2 * generator.normal(size=(images, classes))
    noise = 0.7 * generator.normal(size=floating.shape)
    return floating, floating + noise + generator.normal(0, shift, classes)


def calls(logits: np.ndarray) -> np.ndarray:
    return np.bincount(logits.argmax(1), minlength=logits.shape[1])


@given(st.integers(1, 300), st.integers(2, 12), st.floats(0, 5), st.integers(0, 99))
def test_every_class_is_called_as_often_as_in_float(images, classes, shift, seed):
    floating, quantized = pair(images, classes, shift, seed)
    offsets = match_shares(quantized, floating)
    assert calls(quantized + offsets).tolist() == calls(floating).tolist()
    assert offsets[calls(floating) > 0].sum() == pytest.approx(0, abs=1e-9)


def test_the_offsets_are_the_prices_of_the_transport_problem():
    floating, quantized = pair(200)
    wanted, (images, classes) = calls(floating), quantized.shape
    of_image = sparse.kron(sparse.eye(images), np.ones((1, classes)))
    of_class = sparse.kron(np.ones((1, images)), sparse.eye(classes))
    best = optimize.linprog(
        -quantized.ravel(),
        A_eq=sparse.vstack([of_image, of_class]),
        b_eq=np.concatenate([np.ones(images), wanted]),
    )
    offsets = match_shares(quantized, floating)
    dual = (quantized + offsets).max(1).sum() - wanted @ offsets
    assert dual == pytest.approx(-best.fun)


def test_a_pure_shift_is_undone():
    floating, _ = pair(2000, 5)
    shift = np.array([1.0, -2, 0.5, 0, 0.5])
    offsets = match_shares(floating + shift, floating)
    assert offsets == pytest.approx(-shift, abs=0.05)


def test_what_already_matches_is_left_alone():
    floating, _ = pair()
    assert match_shares(floating, floating).tolist() == [0] * 10
    assert match_group_share(floating, floating, [4, 5]).tolist() == [0] * 10


def test_shares_may_be_given_and_are_rounded_by_largest_remainders():
    _, quantized = pair(10, 3)
    offsets = match_shares(quantized, [0.55, 0.38, 0.07])
    assert calls(quantized + offsets).tolist() == [5, 4, 1]


def test_a_class_that_float_never_calls_is_called_no_more():
    floating, quantized = pair(100, 4)
    floating[:, 3] = -10
    assert calls(quantized + match_shares(quantized, floating))[3] == 0


def test_a_hundred_classes_match():
    floating, quantized = pair(2000, 100, 1.5)
    found = calls(quantized + match_shares(quantized, floating))
    assert found.tolist() == calls(floating).tolist()


def test_a_group_is_called_as_often_as_in_float():
    floating, quantized = pair()
    tail = [4, 5, 6, 7, 8, 9]
    offsets = match_group_share(quantized, floating, tail)
    assert set(offsets[:4]) == {0}
    assert len(set(offsets[4:])) == 1
    assert calls(quantized + offsets)[4:].sum() == calls(floating)[4:].sum()
    half = match_group_share(quantized, 0.5, tail)
    assert calls(quantized + half)[4:].sum() == 250


def test_probabilities_match():
    floating, quantized = pair()
    moved = quantized + match_probabilities(quantized, floating)
    means = [special.softmax(z, axis=1).mean(0) for z in (moved, floating)]
    np.testing.assert_allclose(*means, rtol=1e-6)


def test_probabilities_vary_less_over_samples_than_calls():
    floating, quantized = pair(20_000)
    parts = np.split(np.arange(20_000), 100)
    spread = [
        np.std([match(quantized[part], floating[part]) for part in parts], axis=0).mean()
        for match in (match_probabilities, match_shares)
    ]
    assert spread[0] < 0.8 * spread[1]


def test_means_match():
    floating, quantized = pair()
    moved = quantized + match_means(quantized, floating)
    np.testing.assert_allclose(moved.mean(0), floating.mean(0))


def test_a_last_layer_is_found_again():
    generator = np.random.default_rng(1)
    features, weight = generator.normal(size=(300, 20)), generator.normal(size=(5, 20))
    logits = features @ weight.T + 3
    found, bias = fit_last_layer(features, logits, ridge=0)
    np.testing.assert_allclose(found, weight)
    np.testing.assert_allclose(bias, 3)


def test_a_strong_ridge_keeps_the_layer_and_sets_its_bias():
    generator = np.random.default_rng(2)
    features, weight = generator.normal(size=(50, 8)), generator.normal(size=(3, 8))
    logits = generator.normal(size=(50, 3))
    found, bias = fit_last_layer(features, logits, (weight, np.zeros(3)), ridge=1e9)
    np.testing.assert_allclose(found, weight, atol=1e-6)
    np.testing.assert_allclose(bias, match_means(features @ weight.T, logits), atol=1e-6)


def test_ridge_is_that_of_the_normal_equations():
    generator = np.random.default_rng(3)
    features, logits = generator.normal(size=(40, 6)) + 1, generator.normal(size=(40, 3))
    found, bias = fit_last_layer(features, logits, ridge=0.1)
    centered = features - features.mean(0)
    penalty = 0.1 * (centered**2).mean() * 40
    stacked = np.vstack([centered, np.sqrt(penalty) * np.eye(6)])
    target = np.vstack([logits - logits.mean(0), np.zeros((6, 3))])
    np.testing.assert_allclose(found, np.linalg.lstsq(stacked, target)[0].T)
    np.testing.assert_allclose(features.mean(0) @ found.T + bias, logits.mean(0))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f, q: match_shares(q[0], f), "must be .images, classes."),
        (lambda f, q: match_shares(q * np.nan, f), "must be finite"),
        (lambda f, q: match_shares(q, f[:, 1:]), "target has .9,. classes, the logits 10"),
        (lambda f, q: match_shares(q, np.ones(10)), "sum to 1"),
        (lambda f, q: match_group_share(q, f, range(10)), "some of the classes"),
        (lambda f, q: match_group_share(q, 1.5, [9]), "at least 0"),
        (lambda f, q: match_means(q, f[:, 1:]), "different classes"),
        (lambda f, q: match_probabilities(q, f[:, 1:]), "different classes"),
        (lambda f, q: fit_last_layer(q[1:], f), "the same images"),
        (lambda f, q: fit_last_layer(q, f, ridge=-1), "below 0"),
        (lambda f, q: fit_last_layer(q, f, (np.ones((3, 3)), 0)), "start has a weight"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call(*pair())
