"""Quantities that may explain what rounding does: against NumPy and SciPy, and remembered."""

import dataclasses

import numpy as np
import pytest
from scipy import stats
from small_experiment import Experiment

from ltqlib.experiment import curvature, traits

pytestmark = pytest.mark.slow


def test_traits_are_those_of_the_weights_and_the_predictions(at_home: Experiment) -> None:
    first = dataclasses.replace(at_home.baseline, configs=at_home.baseline.configs[:1])
    found = traits(first).sel(seed=0)
    (trained,) = first
    graph = trained.graph("cpu")
    for layer in graph.layers:
        weight = graph.weight(layer).double().numpy().ravel()
        expected = stats.kurtosis(weight, fisher=False)
        assert float(found["kurtosis"].sel(layer=layer)) == pytest.approx(expected, rel=1e-3)
        step = np.abs(weight).max() / 7  # 4 bits, symmetric: -7 .. 7
        error = weight - step * np.round(weight / step)
        assert float(found["rounding_noise"].sel(layer=layer, bits=4)) == pytest.approx(
            (error**2).sum() / (weight**2).sum(), rel=1e-3
        )
    network = trained.load("cpu")
    test = at_home.data.test
    import torch

    with torch.inference_mode():
        pixels = torch.from_numpy(test.images).permute(0, 3, 1, 2)
        right = network(pixels).argmax(1).numpy() == test.labels
    by_class = [100 * right[test.labels == label].mean() for label in range(10)]
    np.testing.assert_allclose(found["accuracy"].sel(noise=0), by_class)
    noisy = found["accuracy"].sel(noise=0.4).mean()
    assert noisy < found["accuracy"].sel(noise=0).mean()
    assert traits(first).identical(traits(first))


def test_curvature_is_what_small_noise_adds_to_the_loss(at_home: Experiment) -> None:
    import torch
    import torch.nn.functional as F

    first = dataclasses.replace(at_home.baseline, configs=at_home.baseline.configs[:1])
    found = curvature(first).sel(seed=0)
    test = at_home.data.test
    chosen = np.concatenate([np.flatnonzero(test.labels == c)[:50] for c in range(10)])
    (trained,) = first
    graph, labels = trained.graph("cpu"), torch.from_numpy(test.labels[chosen]).long()
    weights = {name: graph.weight(name).double() for name in graph.layers}

    def loss(noise: dict[str, torch.Tensor], sign: int) -> np.ndarray:
        module = graph.module({n: (w + sign * noise[n]).float() for n, w in weights.items()})
        with torch.inference_mode():
            logits = module(graph.pixels(test.images[chosen])).double()
        each = F.cross_entropy(logits, labels, reduction="none").numpy()
        return np.array([each[labels == c].mean() for c in range(10)])

    strength = 0.02

    def against_noise(layers: list[str]) -> tuple[np.ndarray, ...]:
        """By class: the curvature, what noise adds, and the error of their difference."""
        added = []
        for draw in range(60):  # both signs: the first order is no part of it
            torch.manual_seed(draw)
            noise = {n: strength * w.std() * torch.randn_like(w) for n, w in weights.items()}
            noise = {n: e if n in layers else torch.zeros_like(e) for n, e in noise.items()}
            still = {n: torch.zeros_like(e) for n, e in noise.items()}
            added.append((loss(noise, 1) + loss(noise, -1)) / 2 - loss(still, 0))
        scale = strength**2 / 2
        spread = np.std(added, axis=0) / np.sqrt(len(added)) / scale
        part = found.sel(layer=layers)
        error = np.sqrt((part["standard_error"] ** 2).sum("layer").values + spread**2)
        return part["curvature"].sum("layer").values, np.mean(added, axis=0) / scale, error

    # behind the last layer there is no kink of ReLU, which noise crosses and no Hessian knows
    exact, expected, error = against_noise(list(graph.layers)[-1:])
    assert (abs(exact - expected) < 4 * error + 0.05 * expected).all()
    total, expected, error = against_noise(list(graph.layers))
    whole = np.sqrt((error**2).sum())
    assert abs(total.sum() - expected.sum()) < 2 * whole + 0.25 * expected.sum()
    assert curvature(first).identical(curvature(first))
