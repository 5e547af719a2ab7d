"""Intervals along the curve hold the truth as often as they say, in simulated networks.

The truth is that of very many images and seeds. Networks have Gaussian logits: evidence of the
image, of the seed and the image, shifts of each class that a seed and a width bring, and noise
that few bits add. With 300 replications and 300 images a class, one, three and five seeds: 95.3 %,
96.3 % and 95.3 % at equal head, 96.0 %, 96.0 % and 95.7 % of the area; where the offset is taken
for known 64 %, 94.7 % and 94.0 %. At best points, which are estimates too, intervals of what all
classes lose cover; of what the tail loses beyond the head they do with several seeds alone.
"""

from typing import NamedTuple

import numpy as np
import pytest
import xarray as xr
from gaussian_networks import gaussian_logits, two_groups

from ltqlib.statistics import (
    area_under_curve,
    at_best,
    at_equal_head,
    estimate,
    tail_at_equal_head,
)

REPLICATIONS = 100


class Setting(NamedTuple):
    """A simulated experiment."""

    seeds: int
    images: int  # of a class
    seed_sd: float  # of the shift of each class's logit by seed and width


def simulate(setting: Setting, seed: int) -> xr.Dataset:
    values, labels = gaussian_logits(setting.images, setting.seeds, seed=seed)
    shifts = np.random.default_rng(10**6 + seed).normal(size=(setting.seeds, 2, 1, 10))
    return two_groups(values + setting.seed_sd * shifts, labels, (32, 4))


def losses(outcomes: xr.Dataset) -> dict[str, np.ndarray]:
    """(value, low, high) of what 4 bits lose, by measure."""
    found = {}
    measures = {"equal head": (tail_at_equal_head, "norm"), "area": (area_under_curve, "norm")}
    if outcomes.sizes["seed"] < 3:  # with several seeds it is no news
        measures["offset taken for known"] = (at_equal_head, {"norm": range(4, 10)})
    measures |= {"at best": (at_best, "norm"), "uneven at best": (at_best, ("tail", "head"))}
    for name, (measure, by) in measures.items():
        each = measure(outcomes)
        table = estimate((each.sel(bits=32) - each).sel(bits=4), by=by)
        found[name] = table[["value", "low", "high"]].to_numpy(float)[0]
    return found


def coverage(setting: Setting) -> dict[str, float]:
    """Share of the 95 % intervals that hold the truth, by measure."""
    large = Setting(60, 500, setting.seed_sd) if setting.seed_sd else Setting(2, 5000, 0.0)
    many = [losses(simulate(large, 10**5 + number)) for number in range(3)]
    truth = {name: np.mean([found[name][0] for found in many]) for name in many[0]}
    held = [
        {name: low <= truth[name] <= high for name, (_, low, high) in losses(outcomes).items()}
        for outcomes in (simulate(setting, number) for number in range(REPLICATIONS))
    ]
    return {name: float(np.mean([each[name] for each in held])) for name in truth}


@pytest.mark.slow
@pytest.mark.parametrize(
    "setting",
    [Setting(1, 300, 0.0), Setting(3, 300, 0.3)],
    ids=["one seed", "three seeds"],
)
def test_95_percent_intervals_along_the_curve_cover_95_percent(setting):
    found = coverage(setting)
    assert 0.91 <= found["equal head"] <= 0.99
    assert 0.91 <= found["area"] <= 0.99
    assert found["at best"] >= 0.91
    if setting.seeds == 1:  # why outcomes at equal head have an interval of their own
        assert found["offset taken for known"] < 0.8
        assert found["uneven at best"] < 0.8  # and why this has none
    else:
        assert found["uneven at best"] >= 0.93
