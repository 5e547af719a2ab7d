"""Rankings: a planted difference is found and no other."""

import numpy as np
import pytest
import xarray as xr

from ltqlib.errors import InputError
from ltqlib.statistics import ranks_differ

LABELS = np.repeat(np.arange(10), 400)
GROUPS = np.where(LABELS < 4, "head", "tail")


def layers(tail_differs: bool, seeds: int, layers: int = 16) -> xr.DataArray:
    """Layers with known sensitivity by class."""
    found = np.zeros((seeds, layers, len(LABELS)), bool)
    for seed in range(seeds):
        generator = np.random.default_rng(seed)
        for layer in range(layers):
            chance = np.full(len(LABELS), 0.95 - 0.02 * layer)
            if tail_differs:
                chance[LABELS < 4] = 0.5 + 0.03 * layer
            found[seed, layer] = generator.random(len(LABELS)) < chance
    coordinates = {"label": ("image", LABELS), "group": ("image", GROUPS)}
    return xr.DataArray(found, coordinates, ("seed", "layer", "image"))


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_planted_difference_is_found_and_no_other(seeds):
    found = ranks_differ(layers(True, seeds), resamples=60).iloc[0]
    assert found["low"] > 0
    assert found["p"] < 0.05
    assert found["seeds"] == seeds
    found = ranks_differ(layers(False, seeds), resamples=60).iloc[0]
    assert found["low"] <= 0.02
    assert abs(found["value"]) < 0.05


def test_a_group_ranks_as_itself():
    same = ranks_differ(layers(True, 2), by=("head", "head"), resamples=30)
    assert same["value"].item() == pytest.approx(0, abs=1e-6)
    assert "Spearman's rho" in same.note()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda v: ranks_differ(v.isel(layer=0)), "needs the dimension layer"),
        (lambda v: ranks_differ(v.expand_dims("bits")), "one value of bits first"),
        (lambda v: ranks_differ(v, by=("norm", "few")), "group 'few' is not among"),
        (
            lambda v: ranks_differ(v.isel(image=[0, 1, 1600, 1601, 2000])),
            "two images of each class",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call(layers(False, 1, 2))
