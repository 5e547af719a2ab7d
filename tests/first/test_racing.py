"""Racing: its bounds against exact probabilities, its verdicts against all images."""

import itertools

import numpy as np
import pytest
from scipy.stats import hypergeom

from ltqlib.first.errors import InputError
from ltqlib.first.models import predict_logits
from ltqlib.first.quantization import SCHEMES
from ltqlib.first.sensitivity import Sweep, one_layer_at_a_time, race
from ltqlib.first.sensitivity.racing import decide, drop_bounds, least

TOTAL = 60


@pytest.mark.parametrize("alpha", [0.2, 0.01])
@pytest.mark.parametrize("seen", [1, 20, 59])
def test_the_lower_bound_errs_as_often_as_stated_at_most(seen, alpha):
    for marked in range(TOTAL + 1):
        counts = range(max(0, seen - TOTAL + marked), min(seen, marked) + 1)
        wrong = [c for c in counts if least(c, seen, TOTAL, alpha) > marked]
        assert hypergeom.pmf(wrong, TOTAL, marked, seen).sum() <= alpha + 1e-12


def test_bounds_close_when_all_images_are_seen():
    assert drop_bounds(7, 3, TOTAL, TOTAL, 0.01) == (100 * 4 / TOTAL, 100 * 4 / TOTAL)
    low, high = drop_bounds(3, 1, 20, TOTAL, 0.01)
    assert low < 100 * 2 / 20 < high


def simulated(generator: np.random.Generator, total: int) -> np.ndarray:
    """Outcomes (layers, widths, images) whose drops lie on both sides of one point."""
    broken = generator.uniform(0, 0.05, (4, 3, 1))
    u = generator.random((4, 3, total))
    return (u < broken).astype(np.int64) - (u > 0.98)


def test_verdicts_contradict_all_images_no_more_often_than_stated():
    generator, error, races = np.random.default_rng(0), 0.2, 100
    wrong = early = 0
    for _ in range(races):
        outcomes = simulated(generator, 1000)

        def look(positions, active, outcomes=outcomes):
            return np.where(active[..., None], outcomes[..., positions], 0)

        verdicts = decide(look, generator.permutation(1000), (4, 3), 1.0, error)
        drops = 100 * outcomes.sum(-1) / 1000
        flat = list(zip(itertools.chain(*verdicts), drops.flat, strict=True))
        wrong += any(v.above != (d > 1.0) or not v.low <= d <= v.high for v, d in flat)
        early += sum(v.images < 1000 for v, _ in flat)
    assert wrong <= error * races
    assert early > 0.1 * races * 12  # and it does stop early


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_race_reaches_the_verdicts_of_the_whole_sweep(
    digits, folded_network, smoke_images, precision
):
    labels, scheme, widths = digits.test_labels, SCHEMES["w-tensor"], (8, 2)
    sweep = Sweep(folded_network, widths, scheme, precision=precision)
    verdicts = race(sweep, smoke_images, labels, tolerance=5.0)
    right = (predict_logits(folded_network, smoke_images).argmax(1) == labels).mean()
    found = one_layer_at_a_time(folded_network, smoke_images, widths, scheme)
    for layer, by_width in found.items():
        for bits, predictions in by_width.items():
            drop = 100 * (right - (predictions == labels).mean())
            verdict = verdicts[layer][bits]
            assert verdict.above == (drop > 5.0)
            assert verdict.low - 1e-9 <= drop <= verdict.high + 1e-9
    seen = [verdict.images for row in verdicts.values() for verdict in row.values()]
    assert min(seen) < len(smoke_images)


def test_an_error_that_is_no_probability_is_refused(digits, folded_network, smoke_images):
    sweep = Sweep(folded_network, (8,), SCHEMES["w-tensor"])
    with pytest.raises(InputError, match="not a probability"):
        race(sweep, smoke_images, digits.test_labels, tolerance=1.0, error=0.0)
