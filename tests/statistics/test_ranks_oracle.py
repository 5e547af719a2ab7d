"""The first edition's bootstrap of rankings and its metrics are oracles of the second's."""

from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr

from ltqlib.first import claims, metrics
from ltqlib.statistics import holm, ranks_differ


def test_same_bootstrap_as_the_first_edition():
    labels = np.repeat(np.arange(10), 60)
    generator = np.random.default_rng(0)
    right = generator.random((3, 7, 600)) < 0.6 + 0.05 * np.arange(7)[:, None]
    runs = [
        SimpleNamespace(
            labels=labels,
            classes=list("abcdefghij"),
            groups={"tail": [4, 5, 6, 7, 8, 9]},
            one_layer=lambda bits, mine=mine: {
                f"L{n}": np.where(row, labels, (labels + 1) % 10) for n, row in enumerate(mine)
            },
        )
        for mine in right
    ]
    expected = claims.rank_disagreement(SimpleNamespace(first=runs[0], runs=runs), 4, 50)
    coordinates = {
        "label": ("image", labels),
        "group": ("image", np.where(labels < 4, "head", "tail")),
    }
    found = ranks_differ(xr.DataArray(right, coordinates, ("seed", "layer", "image")), resamples=50)
    # ties of float32 sums may break otherwise
    assert found.iloc[0, :3].tolist() == pytest.approx(expected, abs=0.01)


def test_same_holm():
    p_values = np.random.default_rng(1).random(9)
    assert holm(p_values).tolist() == pytest.approx(metrics.holm(p_values))
