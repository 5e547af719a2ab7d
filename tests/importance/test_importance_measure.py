"""All scores at once: their names, their dimensions, and the images that each sees."""

import numpy as np
import xarray as xr
from tiny_classes import LABELS, LAYERS

from ltqlib import importance
from ltqlib.importance.measure import balanced
from ltqlib.quantization import variants

DIMS = {
    ("class", "layer", "bits"): {
        "accuracy", "loss", "kl", "output_sqnr", "fit", "taylor", "hawq"
    },
    ("layer", "bits"): {"sqnr", "called_tail", "logit_gap"},
}  # fmt: skip
FEW = {"outputs": 3, "fisher": 2, "curvature": 2}


def test_all_scores_come_with_their_names_dimensions_and_images(graph, images):
    found = importance.measure(graph, images, LABELS, [1, 2], (4, 2), counts=FEW, probes=2)
    assert set(found.data_vars) == set.union(*DIMS.values())
    for dims, names in DIMS.items():
        for name in names:
            assert set(found[name].dims) == set(dims), name
            assert np.isfinite(found[name]).all(), name
    assert found.layer.values.tolist() == LAYERS
    assert found.bits.values.tolist() == [4, 2]
    rounded = variants(graph, [4, 2])
    few, fewer = (balanced(images, LABELS, count) for count in (3, 2))
    xr.testing.assert_allclose(found.taylor, importance.taylor(graph, *few, rounded))
    fisher = importance.fisher(graph, *fewer)
    xr.testing.assert_allclose(found.fit, importance.perturbation(fisher, graph, rounded))


def test_balanced_images_are_a_prefix_of_more(images):
    labels = np.repeat([0, 1], [5, 2])
    few, more = (balanced(np.arange(7), labels, count) for count in (2, 4))
    assert np.isin(few[0], more[0]).all()
    assert np.bincount(more[1]).tolist() == [4, 2]  # all there are
    np.testing.assert_array_equal(labels[few[0]], few[1])
