"""Scores of logits against torch, SciPy and counting."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import xarray as xr
from scipy.special import softmax
from scipy.stats import entropy
from tiny_classes import BITS, GROUPS, LABELS, LAYERS, MEMBERS, with_group

from ltqlib import importance
from ltqlib.errors import InputError
from ltqlib.quantization import Quantized, variants


@pytest.fixture(scope="module")
def logits():
    """Random logits: float ones that every layer shares, and some at each width."""
    generator = np.random.default_rng(3)
    values = generator.normal(0, 3, (3, 4, len(LABELS), 3))
    values[:, 0] = values[0, 0]
    return xr.DataArray(
        values,
        {"layer": LAYERS, "bits": [32, *BITS], "label": ("image", LABELS),
         "group": ("image", np.where(LABELS == 0, "head", "tail"))},
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


def test_chosen_layers_alone_are_quantized(graph, images, rounded):
    two = variants(graph, [2], layers=["L3", "L1"])
    found = importance.one_layer_logits(graph, images, two)
    whole = importance.one_layer_logits(graph, images, rounded)
    assert found.layer.values.tolist() == ["L3", "L1"]
    xr.testing.assert_allclose(found, whole.sel(layer=["L3", "L1"], bits=[32, 2]))


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
    by_group = importance.loss_increase(logits, groups=GROUPS)
    assert by_group["group"].values.tolist() == list(GROUPS)
    np.testing.assert_allclose(by_group, with_group(expected))


def test_kl_divergence_is_scipys_class_by_class(logits):
    reference, changed = cells(logits)
    found = importance.kl_divergence(logits, groups=GROUPS)
    expected = [
        [
            [entropy(softmax(reference, 1), softmax(v, 1), axis=1)[mine].mean() for v in row]
            for row in changed
        ]
        for mine in MEMBERS
    ]
    np.testing.assert_allclose(found, with_group(expected))
    assert (found > 0).all()


def test_other_dimensions_are_kept(logits):
    seeds = xr.concat([logits, logits + 1, 2 * logits], "seed").sel(layer="L1", drop=True)
    for score in (importance.loss_increase, importance.kl_divergence):
        found = score(seeds)
        assert set(found.dims) == {"class", "seed", "bits"}
        xr.testing.assert_allclose(found.sel(seed=2), score(2 * logits).sel(layer="L1", drop=True))


def test_the_float_model_may_be_given(logits):
    reference = logits.sel(bits=32, drop=True).isel(layer=0, drop=True)
    alone = logits.sel(bits=[4])
    for score in (importance.loss_increase, importance.kl_divergence, importance.logit_gap):
        xr.testing.assert_allclose(score(alone, reference), score(logits).sel(bits=[4]))


def test_extreme_logits_give_finite_scores():
    array = xr.DataArray(
        np.array([[[1000.0, 0.0], [0.0, 1000.0]], [[0.0, 1000.0], [1000.0, 0.0]]], np.float32),
        {"bits": [32, 4], "label": ("image", [0, 1])},
        ("bits", "image", "class"),
    )
    for score in (importance.loss_increase, importance.kl_divergence):
        np.testing.assert_allclose(score(array), 1000.0)


# ---- the two that need no label


def test_the_share_called_tail_is_counted(logits):
    predicted = logits.argmax("class").assign_coords(label=logits.label, group=logits.group)
    found = importance.called_tail(predicted)
    assert found.dims == ("layer", "bits")

    def share(values):
        return 100 * np.mean([value in (1, 2) for value in values.tolist()])

    for name in LAYERS:
        for bits in BITS:
            now, before = (share(predicted.sel(layer=name, bits=b).values) for b in (bits, 32))
            assert float(found.sel(layer=name, bits=bits)) == pytest.approx(now - before)
    unlabelled = predicted.drop_vars(["label", "group"])
    xr.testing.assert_allclose(importance.called_tail(unlabelled, tail=[1, 2]), found)


def test_the_logit_gap_is_the_mean_over_tail_less_head(logits):
    found = importance.logit_gap(logits.drop_vars(["label", "group"]), tail=[2, 1])
    gap = logits.values[..., 1:].mean((-1, -2)) - logits.values[..., 0].mean(-1)
    np.testing.assert_allclose(found, gap[:, 1:] - gap[:, :1])
    xr.testing.assert_allclose(importance.logit_gap(logits), found)
    named = logits.assign_coords({"class": ["a", "b", "c"]})
    xr.testing.assert_allclose(importance.logit_gap(named), found)


def test_one_offset_moves_the_gap_by_itself(logits):
    moved = logits.copy()
    moved.loc[{"bits": 4}] = logits.sel(bits=32) + np.array([0.0, -2.0, -2.0])
    np.testing.assert_allclose(importance.logit_gap(moved).sel(bits=4), -2.0)
    np.testing.assert_allclose(
        importance.loss_increase(moved).sel({"class": 0, "bits": 4}) < 0, True
    )


@pytest.mark.parametrize(
    ("call", "says"),
    [
        pytest.param(lambda x: importance.loss_increase(x.isel(image=0)), "image is missing",
                     id="dimension"),
        pytest.param(lambda x: importance.loss_increase(x.drop_vars("label")), "label on image",
                     id="labels"),
        pytest.param(lambda x: importance.loss_increase(x.sel(bits=[4])), "no float model at bits",
                     id="reference"),
        pytest.param(lambda x: importance.kl_divergence(x, x.sel(bits=32)[:, :5]),
                     "on the same images", id="other images"),
        pytest.param(lambda x: importance.logit_gap(x, tail=[0, 1, 2]), "not all", id="all"),
        pytest.param(lambda x: importance.called_tail(x.argmax("class"), tail=[]), "no class is",
                     id="no tail"),
        pytest.param(lambda x: importance.called_tail(x.argmax("class").drop_vars("group")),
                     "coordinate group on image", id="no group"),
        pytest.param(lambda x: importance.loss_increase(x, groups={"fish": [7]}),
                     "class 7 of group 'fish' has no image", id="no such class"),
    ],
)  # fmt: skip
def test_outputs_that_do_not_fit_are_refused(logits, call, says):
    with pytest.raises(InputError, match=says):
        call(logits)
