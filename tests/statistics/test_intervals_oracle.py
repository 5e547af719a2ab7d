"""The first edition's crossed intervals are an oracle of the second's."""

import numpy as np
import pytest

from ltqlib.first import crossed
from ltqlib.statistics.intervals import class_weights, crossed_interval

LABELS = np.tile(np.arange(10), 40)
WEIGHTS = [class_weights(10, [0, 1]), class_weights(10, range(4, 10), range(4)), np.full(10, 0.1)]


@pytest.mark.parametrize("seeds", [1, 2, 5])
@pytest.mark.parametrize("shift", [0.0, 0.02, 0.5])
def test_same_numbers_as_the_first_edition(seeds, shift):
    generator = np.random.default_rng(seeds)
    outcomes = generator.integers(-1, 2, (3, 2, seeds, 400)) + shift
    outcomes[0, 0] = outcomes[0, 0, :1]  # seeds that agree
    found = crossed_interval(outcomes, LABELS, np.stack(WEIGHTS))
    assert found.value.shape == (3, 2, 3)
    for row in np.ndindex(3, 2):
        for number, weights in enumerate(WEIGHTS):
            expected = crossed.crossed_interval(outcomes[row], LABELS, weights)
            mine = [column[row][number] for column in found]
            np.testing.assert_allclose(mine, expected, rtol=1e-7, atol=1e-9)
