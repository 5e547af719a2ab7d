"""All scores at once: names, dimensions and the images that each sees."""

import numpy as np
import xarray as xr
from tiny_classes import LABELS, LAYERS

from ltqlib import importance
from ltqlib.importance.measure import balanced
from ltqlib.quantization import variants

DIMS = {
    ("class", "layer", "bits"): {"loss", "kl", "output_sqnr", "fit", "taylor", "hawq"},
    ("class", "layer"): {"fisher", "gradient", "grape", "trace", "trace_error"},
    ("layer", "bits"): {"sqnr", "logit_gap", "learned"},
    ("layer",): {"eigenvalue", "eigenvalue_residual"},
}
FEW = {"outputs": 3, "fisher": 2, "curvature": 2, "eigenvalue": 1}


def test_all_scores_come_with_their_names_and_dimensions(graph, images):
    found = importance.measure(
        graph, images, LABELS, [1, 2], (4, 2), counts=FEW, probes=2, iterations=2,
        learning={"steps": 2},
    )  # fmt: skip
    assert set(found.data_vars) == set.union(*DIMS.values())
    for dims, names in DIMS.items():
        for name in names:
            assert set(found[name].dims) == set(dims), name
            assert np.isfinite(found[name]).all(), name
    assert found.layer.values.tolist() == LAYERS
    assert found.bits.values.tolist() == [4, 2]


def test_each_score_sees_its_images(graph, images):
    found = importance.measure(
        graph, images, LABELS, [1, 2], (4,), counts=FEW, probes=2, iterations=2,
        learning={"steps": 2},
    )  # fmt: skip
    rounded = variants(graph, [4])
    xr.testing.assert_allclose(
        found.taylor, importance.taylor(graph, *balanced(images, LABELS, 3), rounded)
    )
    xr.testing.assert_allclose(found.fisher, importance.fisher(graph, *balanced(images, LABELS, 2)))


def test_balanced_images_are_a_prefix_of_more(images):
    labels = np.repeat([0, 1], [5, 2])
    few, more = (balanced(np.arange(7), labels, count) for count in (2, 4))
    assert np.isin(few[0], more[0]).all()
    assert np.bincount(more[1]).tolist() == [4, 2]  # all there are
    np.testing.assert_array_equal(labels[few[0]], few[1])
