"""Quantities that may explain what rounding does: against NumPy and SciPy, and remembered."""

import dataclasses

import numpy as np
import pytest
from scipy import stats
from small_experiment import Experiment

from ltqlib.experiment import traits

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
