"""Scores of logits against torch, SciPy and counting."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import xarray as xr
from scipy.special import softmax
from scipy.stats import entropy
from tiny_classes import BITS, LABELS, LAYERS, MEMBERS

from ltqlib import importance
from ltqlib.errors import InputError
from ltqlib.quantization import Quantized


@pytest.fixture(scope="module")
def logits():
    """Random logits: float ones that every layer shares, and some at each width."""
    generator = np.random.default_rng(3)
    values = generator.normal(0, 3, (3, 4, len(LABELS), 3))
    values[:, 0] = values[0, 0]
    return xr.DataArray(
        values,
        {"layer": LAYERS, "bits": [32, *BITS], "label": ("image", LABELS)},
        ("layer", "bits", "image", "class"),
    )  # fmt: skip


def cells(logits):
    """Float logits (N, C), and those of each layer and width."""
    reference = logits.values[0, 0]
    return reference, [[logits.sel(layer=n, bits=b).values for b in BITS] for n in LAYERS]


def test_one_layers_logits_are_those_of_quantized_models(graph, images, rounded):
    found = importance.one_layer_logits(graph, images, rounded, LABELS)
    assert found.dims == ("layer", "bits", "image", "class")
    assert found.bits.values.tolist() == [32, *BITS]
    assert found.layer.values.tolist() == LAYERS
    np.testing.assert_array_equal(found.label, LABELS)
    for name in LAYERS:
        plain = graph.logits(images)
        np.testing.assert_allclose(found.sel(layer=name, bits=32), plain, rtol=1e-5, atol=1e-6)
        for bits in BITS:
            model = Quantized(graph, {name: rounded[name][bits]})
            expected = model(images).detach()
            np.testing.assert_allclose(
                found.sel(layer=name, bits=bits), expected, rtol=1e-5, atol=1e-6
            )


def test_loss_increase_is_torchs_cross_entropy_class_by_class(logits):
    found = importance.loss_increase(logits)
    assert found.dims == ("class", "layer", "bits")
    assert found["class"].values.tolist() == [0, 1, 2]
    assert found.bits.values.tolist() == list(BITS)
    reference, changed = cells(logits)
    truth = torch.from_numpy(LABELS)

    def loss(outputs, mine):
        return float(F.cross_entropy(torch.from_numpy(outputs)[mine], truth[mine]))

    expected = [
        [[loss(each, mine) - loss(reference, mine) for each in row] for row in changed]
        for mine in MEMBERS
    ]
    np.testing.assert_allclose(found, expected)


def test_the_accuracy_drop_is_counted(logits):
    found = importance.accuracy_drop(logits)
    assert found.dims == ("class", "layer", "bits")
    reference, changed = cells(logits)

    def right(outputs, label, mine):
        return 100 * np.mean(outputs[mine].argmax(1) == label)

    expected = [
        [[right(reference, c, mine) - right(each, c, mine) for each in row] for row in changed]
        for c, mine in enumerate(MEMBERS)
    ]
    np.testing.assert_allclose(found, expected)


def test_kl_divergence_is_scipys_class_by_class(logits):
    reference, changed = cells(logits)
    found = importance.kl_divergence(logits)
    expected = [
        [
            [entropy(softmax(reference, 1), softmax(v, 1), axis=1)[mine].mean() for v in row]
            for row in changed
        ]
        for mine in MEMBERS
    ]
    np.testing.assert_allclose(found, expected)
    assert (found > 0).all()


def test_other_dimensions_are_kept(logits):
    seeds = xr.concat([logits, logits + 1, 2 * logits], "seed").sel(layer="L1", drop=True)
    for score in (importance.loss_increase, importance.kl_divergence):
        found = score(seeds)
        assert set(found.dims) == {"class", "seed", "bits"}
        xr.testing.assert_allclose(found.sel(seed=2), score(2 * logits).sel(layer="L1", drop=True))


def test_extreme_logits_give_finite_scores():
    array = xr.DataArray(
        np.array([[[1000.0, 0.0], [0.0, 1000.0]], [[0.0, 1000.0], [1000.0, 0.0]]], np.float32),
        {"bits": [32, 4], "label": ("image", [0, 1])},
        ("bits", "image", "class"),
    )
    for score in (importance.loss_increase, importance.kl_divergence):
        np.testing.assert_allclose(score(array), 1000.0)


def test_the_share_called_tail_is_counted(logits):
    found = importance.called_tail(logits.drop_vars("label"), [1, 2])
    assert found.dims == ("layer", "bits")

    def share(values):
        return 100 * np.mean([value in (1, 2) for value in values.argmax(1).tolist()])

    reference, changed = cells(logits)
    expected = [[share(each) - share(reference) for each in row] for row in changed]
    np.testing.assert_allclose(found, expected)


def test_the_logit_gap_is_the_mean_over_tail_less_head(logits):
    found = importance.logit_gap(logits.drop_vars("label"), [2, 1])
    gap = logits.values[..., 1:].mean((-1, -2)) - logits.values[..., 0].mean(-1)
    np.testing.assert_allclose(found, gap[:, 1:] - gap[:, :1])
    named = logits.assign_coords({"class": ["a", "b", "c"]})
    xr.testing.assert_allclose(importance.logit_gap(named, [1, 2]), found)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        pytest.param(lambda x: importance.loss_increase(x.isel(image=0)), "image is missing",
                     id="dimension"),
        pytest.param(lambda x: importance.loss_increase(x.drop_vars("label")), "label on image",
                     id="labels"),
        pytest.param(lambda x: importance.loss_increase(x.sel(bits=[4])), "no float model at bits",
                     id="reference"),
        pytest.param(lambda x: importance.logit_gap(x, [0, 1, 2]), "not all", id="all"),
        pytest.param(lambda x: importance.called_tail(x, []), "not none", id="no tail"),
    ],
)  # fmt: skip
def test_outputs_that_do_not_fit_are_refused(logits, call, says):
    with pytest.raises(InputError, match=says):
        call(logits)
