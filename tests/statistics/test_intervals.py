"""Crossed intervals: closed forms, SciPy's t-test, and coverage of a known truth."""

import math
from typing import NamedTuple

import numpy as np
import pytest
from gaussian_networks import class_weights
from scipy import stats

from ltqlib.errors import InputError
from ltqlib.statistics.intervals import (
    Rule,
    Variances,
    crossed_interval,
)

CLASSES, HEAD, TAIL = 10, range(4), range(4, 10)
LABELS = np.repeat(np.arange(CLASSES), 40)
GENERATOR = np.random.default_rng(0)
FIRST, SECOND = (
    np.where(GENERATOR.random((5, 400)) < share, LABELS, (LABELS + 1) % CLASSES)
    for share in (0.8, 0.7)
)
RIGHT = (FIRST == LABELS).astype(float)
STEP = (SECOND == LABELS) - RIGHT


def normal_interval(values: np.ndarray, members: list[int], sign: float = 1) -> np.ndarray:
    """(mean over classes in points, its variance) from the textbook, one seed's values (N,)."""
    classes = [100 * values[label == LABELS] for label in members]
    mean = sign * np.mean([c.mean() for c in classes])
    variance = sum(stats.sem(c) ** 2 for c in classes) / len(members) ** 2
    return np.array([mean, variance])


def reach(value: float, variance: float) -> tuple[float, float, float]:
    half = stats.norm.ppf(0.975) * math.sqrt(variance)
    return value, value - half, value + half


@pytest.mark.parametrize("values", [RIGHT, STEP], ids=["accuracy", "difference"])
def test_one_seed_is_the_normal_interval_over_images(values):
    members = [2, 5, 6]
    one = crossed_interval(values[:1], LABELS, class_weights(CLASSES, members))
    assert one[:3] == pytest.approx(reach(*normal_interval(values[0], members)))
    assert one.seeds == 1
    assert math.isnan(one.sd_seeds)
    z = one.value / ((one.high - one.value) / stats.norm.ppf(0.975))
    assert one.p_value == pytest.approx(2 * stats.norm.sf(abs(z)))


def test_one_seed_and_two_groups_add_their_variances():
    found = crossed_interval(RIGHT[:1], LABELS, class_weights(CLASSES, HEAD, TAIL))
    gap = normal_interval(RIGHT[0], list(HEAD)) + normal_interval(RIGHT[0], list(TAIL), -1)
    assert found[:3] == pytest.approx(reach(*gap))


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_without_image_noise_it_is_the_t_test_over_seeds(seeds):
    each = GENERATOR.normal(0.02, 0.03, (seeds, CLASSES))
    weights = class_weights(CLASSES, HEAD, TAIL)
    found = crossed_interval(each[:, LABELS], LABELS, weights)
    test = stats.ttest_1samp(100 * each @ weights, 0)
    interval = test.confidence_interval(0.95)
    assert found[:4] == pytest.approx(
        (100 * (each @ weights).mean(), interval.low, interval.high, test.pvalue)
    )
    assert found.sd_seeds == pytest.approx(100 * (each @ weights).std(ddof=1))


def test_seeds_that_agree_on_every_image_leave_the_noise_of_the_images():
    weights = class_weights(CLASSES, HEAD)
    one, five = (crossed_interval(np.repeat(RIGHT[:1], s, axis=0), LABELS, weights) for s in (1, 5))
    assert five[:4] == pytest.approx(one[:4])
    assert five.sd_seeds == 0


def test_the_interval_is_never_shorter_than_that_of_the_images():
    # Two seeds that are right equally often, on images that have nothing to do with each other.
    outcomes = np.stack([RIGHT[0], RIGHT[0].reshape(CLASSES, 40)[:, ::-1].ravel()])
    found = crossed_interval(outcomes, LABELS, np.full(CLASSES, 0.1))
    assert found.sd_seeds == 0
    blocks = 100 * outcomes.mean(axis=0).reshape(CLASSES, 40)
    images = np.sqrt((blocks.var(axis=1, ddof=1) / 40).sum()) / CLASSES
    assert found.high - found.value == pytest.approx(stats.norm.ppf(0.975) * images)


@pytest.mark.parametrize("outcomes", [RIGHT, STEP], ids=["accuracy", "difference"])
def test_the_variance_is_that_of_the_anova_estimators(outcomes):
    # Searle, Casella and McCulloch: variance components from the mean squares of each class.
    weights = class_weights(CLASSES, HEAD, TAIL)
    found = crossed_interval(outcomes, LABELS, weights)
    blocks = 100 * outcomes.reshape(5, CLASSES, 40)
    means = blocks.mean(axis=2) @ weights
    column = blocks.mean(axis=0)
    rest = blocks - blocks.mean(axis=2, keepdims=True) - column
    rest += blocks.mean(axis=(0, 2))[:, None]
    error = (rest**2).sum(axis=(0, 2)) / (4 * 39)
    image = np.maximum(0, (weights**2 * (5 * column.var(axis=1, ddof=1) - error)).sum() / 200)
    total = means.var(ddof=1) / 5 + image
    share = means.var(ddof=1) / 5 / total
    critical = share * stats.t.ppf(0.975, 4) + (1 - share) * stats.norm.ppf(0.975)
    floor = stats.norm.ppf(0.975) * np.sqrt((weights**2 * column.var(axis=1, ddof=1) / 40).sum())
    assert found.high - found.low == pytest.approx(2 * max(critical * np.sqrt(total), floor))


@pytest.mark.parametrize("shift", [0.0, 0.02, 0.1, 0.6])
def test_the_p_value_is_where_the_interval_touches_zero(shift):
    found = crossed_interval(STEP + shift, LABELS, np.full(CLASSES, 0.1))
    at = crossed_interval(STEP + shift, LABELS, np.full(CLASSES, 0.1), 1 - found.p_value)
    assert min(abs(at.low), abs(at.high)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("constant", "p_value"), [(0.0, 1.0), (1.0, 0.0)])
@pytest.mark.parametrize("seeds", [1, 3])
def test_without_any_variance_the_interval_is_a_point(seeds, constant, p_value):
    weights = class_weights(CLASSES, HEAD)
    found = crossed_interval(np.full((seeds, 400), constant), LABELS, weights)
    assert found[:4] == pytest.approx((100 * constant, 100 * constant, 100 * constant, p_value))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: crossed_interval(RIGHT[0], LABELS, np.ones(CLASSES)), "must be .+seeds, images"),
        (lambda: crossed_interval(RIGHT[:, 1:], LABELS, np.ones(CLASSES)), "a label an image"),
        (lambda: crossed_interval(RIGHT, LABELS, np.ones(3)), "one for each class"),
        (lambda: crossed_interval(RIGHT, LABELS, np.ones(CLASSES), 95), "between 0 and 1"),
        (
            lambda: crossed_interval(np.ones((2, 3)), [0, 0, 0], [1, 1]),
            "class 1 has no test image",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_a_class_without_weight_needs_no_images():
    assert crossed_interval(np.ones((2, 3)), [0, 0, 1], [1, 0, 0]).value == 100


def test_a_class_of_one_image_has_a_value_and_no_interval():
    found = crossed_interval(np.ones((2, 3)), [0, 0, 1], [0.5, 0.5])
    assert found.value == 100
    assert np.isnan([found.low, found.high, found.p_value]).all()


def test_many_rows_and_weights_at_once_are_one_at_a_time():
    weights = np.stack([class_weights(CLASSES, HEAD, TAIL), class_weights(CLASSES, [3])])
    rows = np.stack([RIGHT, STEP, RIGHT[::-1] - STEP]).reshape(3, 1, 5, 400)
    found = crossed_interval(rows, LABELS, weights)
    assert found.value.shape == (3, 1, 2)
    for place in np.ndindex(3, 1, 2):
        one = crossed_interval(rows[place[:2]], LABELS, weights[place[2]])
        assert [column[place] for column in found] == pytest.approx(list(one))


def test_missing_seeds_and_images_are_left_out():
    holes = np.stack([RIGHT, RIGHT])
    holes[0, 2] = np.nan
    holes[1, :, 7:19] = np.nan
    weights, keep = class_weights(CLASSES, HEAD), np.r_[0:7, 19:400]
    found = crossed_interval(holes, LABELS, weights)
    first = crossed_interval(RIGHT[[0, 1, 3, 4]], LABELS, weights)
    second = crossed_interval(RIGHT[:, keep], LABELS[keep], weights)
    for place, expected in enumerate((first, second)):
        assert [column[place] for column in found] == pytest.approx(list(expected))
    with pytest.raises(InputError, match="lacks images that another seed has"):
        crossed_interval(np.where(np.eye(5, 400) > 0, np.nan, RIGHT), LABELS, weights)


def exact_coverage(seeds: int, share: float, doubled: float) -> tuple[float, float]:
    """Coverage of the rule by integration over V_seeds, without and with the floor.

    Normal data with known variance of images: total variance 1, of which the seeds bring
    ``share``; ``doubled`` is V_both / V_images.
    """
    x = stats.chi2.ppf((np.arange(500) + 0.5) / 500, seeds - 1) / (seeds - 1)
    images, both = np.full(500, 1 - share), np.full(500, doubled * (1 - share))
    parts = Variances((share + both) * x, images, both)
    rule, z = Rule(parts, seeds), stats.norm.ppf(0.975)
    reach = np.stack([rule.critical(z) * np.sqrt(parts.total), rule.half_width(z)])
    low, high = (2 * stats.norm.cdf(reach) - 1).mean(axis=1)
    return float(low), float(high)


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "highest"), [(2, 0.98), (3, 0.972), (5, 0.97)])
def test_the_rule_covers_whatever_the_share_of_the_seeds(seeds, highest):
    grid = [(s, d) for s in (0, 0.1, 0.3, 0.6, 0.9, 0.99) for d in (0.05, 0.4, 0.9)]
    found = np.array([exact_coverage(seeds, *point) for point in grid])
    assert found[:, 0].min() > 0.935
    assert found[:, 0].max() < highest
    assert np.all(found[:, 1] >= found[:, 0] - 1e-12)
    assert found[:, 1].max() < 0.993


class Setting(NamedTuple):
    """A simulated experiment: probit of class, seed, image and noise."""

    seeds: int
    images: int  # of a class
    image_sd: float  # on the probit scale, where the noise has 1
    seed_sd: float  # of the accuracy of a class, points: half of its variance common to classes
    paired: bool  # the difference between two models, or the accuracy of one
    weights: np.ndarray


def simulate(setting: Setting, generator: np.random.Generator) -> tuple[np.ndarray, float]:
    """Outcomes (S, 10 n) of one experiment and the exact truth in points.

    P(right) over seeds and images is Phi(mu / sqrt(1 + var)), as everything is normal.
    """
    accuracy = np.linspace(0.9, 0.4, CLASSES)
    mean, outcomes, truth = stats.norm.ppf(accuracy), [], []
    # A point of accuracy on the probit scale, at the threshold of the whole distribution.
    spread = np.sqrt(1 + setting.image_sd**2)
    seed_sd = setting.seed_sd / 100 * spread / stats.norm.pdf(mean)
    image = setting.image_sd * generator.standard_normal(
        (1, CLASSES, setting.images), dtype=np.float32
    )
    for shift in (0.0, -0.15)[: 1 + setting.paired]:
        common = generator.standard_normal((setting.seeds, 1))
        own = generator.standard_normal((setting.seeds, CLASSES))
        seed = (common + own) / np.sqrt(2) * seed_sd
        level = ((mean + shift) * np.sqrt(spread**2 + seed_sd**2) + seed)[..., None]
        noise = generator.standard_normal(
            (setting.seeds, CLASSES, setting.images), dtype=np.float32
        )
        outcomes.append((noise + image > -level).reshape(setting.seeds, -1))
        truth.append(100 * setting.weights @ stats.norm.cdf(mean + shift))
    if setting.paired:
        return outcomes[1].astype(float) - outcomes[0], truth[1] - truth[0]
    return outcomes[0].astype(float), truth[0]


ALL, GAP = np.full(CLASSES, 0.1), class_weights(CLASSES, HEAD, TAIL)
SETTINGS = {
    "five seeds, 1000 images, accuracy": Setting(5, 1000, 2.0, 2.0, False, ALL),
    "five seeds, 500 images, paired gap": Setting(5, 500, 2.0, 1.5, True, GAP),
    "five seeds, 100 images, paired": Setting(5, 100, 1.0, 2.0, True, ALL),
    "five seeds, 300 images, gap": Setting(5, 300, 3.0, 2.5, False, GAP),
    "three seeds, 500 images, paired": Setting(3, 500, 2.0, 1.0, True, ALL),
    "three seeds, 1000 images, paired gap": Setting(3, 1000, 2.0, 2.0, True, GAP),
    "two seeds, 1000 images, accuracy": Setting(2, 1000, 2.0, 2.0, False, ALL),
    "two seeds, 500 images, paired": Setting(2, 500, 2.0, 2.0, True, ALL),
}
# Where images bring about half of the variance or more: never below the nominal level, and above.
CONSERVATIVE = {
    "three seeds that differ, 300 images, gap": Setting(3, 300, 2.0, 4.0, False, GAP),
    "two seeds that differ, 300 images, paired gap": Setting(2, 300, 2.0, 3.0, True, GAP),
    "five seeds, 100 images, accuracy": Setting(5, 100, 2.0, 0.5, False, ALL),
    "three seeds, 300 images, gap": Setting(3, 300, 2.0, 0.5, False, GAP),
    "two seeds, 100 images, paired": Setting(2, 100, 2.0, 0.0, True, ALL),
}


def measured_coverage(setting: Setting, replications: int = 500) -> float:
    """Share of the 95 % intervals that hold the truth."""
    generator, hits = np.random.default_rng(0), 0
    labels = np.repeat(np.arange(CLASSES), setting.images)
    for _ in range(replications):
        outcomes, truth = simulate(setting, generator)
        found = crossed_interval(outcomes, labels, setting.weights)
        hits += found.low <= truth <= found.high
    return hits / replications


@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
def test_95_percent_intervals_cover_95_percent(setting):
    assert 0.925 <= measured_coverage(setting) <= 0.975


@pytest.mark.slow
@pytest.mark.parametrize("setting", CONSERVATIVE.values(), ids=CONSERVATIVE)
def test_where_images_weigh_more_than_seeds_the_intervals_are_conservative(setting):
    assert 0.94 <= measured_coverage(setting) <= 0.996
