"""Sensitivity metrics against NumPy, SciPy, single-image autograd and the exact Hessian."""

from collections import OrderedDict

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.special import softmax
from scipy.stats import entropy
from torch import nn

from ltqlib.first import importance, models
from ltqlib.first.errors import InputError
from ltqlib.first.importance.layers import weights_of
from ltqlib.first.importance.learned import learned_step_quantize
from ltqlib.first.models import predict_logits, quantizable_layers
from ltqlib.first.quantization import SCHEMES, Bits, quantize_network
from ltqlib.first.quantization.ptq import quantized_weight

SCHEME = SCHEMES["w-tensor"]
WIDTHS = (8, 4, 2)
LAYERS = ["L1", "L2", "L3"]
CLASSES = importance.each_class(("bird", "cat", "dog"))
GROUPS = {**CLASSES, "pets": [1, 2]}
LABELS = np.array([0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 0, 1])
MEMBERS = [np.flatnonzero(label == LABELS) for label in range(3)]


@pytest.fixture(scope="module")
def network():
    """Convolution, pool and two linear layers: 98 weights, in float64."""
    torch.manual_seed(1)
    units = OrderedDict(
        L1=models.ConvUnit(3, 2), pool1=nn.MaxPool2d(2), flatten=nn.Flatten(),
        L2=models.LinearUnit(8, 4),
    )  # fmt: skip
    made = models.fold_batchnorm(models.Network(nn.Sequential(units), 4, 3))
    nn.init.normal_(made.classifier.weight)
    return made.double()


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (len(LABELS), 4, 4, 3), dtype=np.uint8)


def loss_of(network, images, chosen):
    """Mean cross-entropy of some images as a function of the layers' weights."""
    names = list(weights_of(network))
    pixels = torch.from_numpy(images[chosen]).permute(0, 3, 1, 2)
    labels = torch.from_numpy(LABELS[chosen])

    def loss(*weights):
        replaced = dict(zip(names, weights, strict=True))
        return F.cross_entropy(torch.func.functional_call(network, replaced, (pixels,)), labels)

    return loss


def gradients_of(network, images, chosen):
    leaves = [w.clone().requires_grad_() for w in weights_of(network).values()]
    return torch.autograd.grad(loss_of(network, images, chosen)(*leaves), leaves)


@pytest.fixture(scope="module")
def hessians(network, images):
    """The exact block of each class and layer, (n, n)."""
    weights = tuple(weights_of(network).values())
    blocks = []
    for mine in MEMBERS:
        full = torch.autograd.functional.hessian(loss_of(network, images, mine), weights)
        blocks.append([full[i][i].reshape(w.numel(), -1).numpy() for i, w in enumerate(weights)])
    return blocks


def with_group(of_classes):
    """Scores of the three classes, and of the group: the mean of its two classes."""
    of_classes = np.asarray(of_classes)
    return np.concatenate([of_classes, of_classes[1:].mean(0, keepdims=True)])


def noise_by_hand(network):
    return [
        [(quantized_weight(w, b, SCHEME) - w).numpy() for b in WIDTHS]
        for w in weights_of(network).values()
    ]


def test_the_layers_of_both_architectures_are_found_and_replaced():
    for build in models.BUILDERS.values():
        network = models.fold_batchnorm(build(1 / 16, 3))
        layers, weights = quantizable_layers(network), weights_of(network)
        state = network.state_dict()
        assert len(weights) == len(layers)
        for layer, (name, weight) in zip(layers.values(), weights.items(), strict=True):
            assert weight.data_ptr() == layer.weight.data_ptr() == state[name].data_ptr()


# ---- outputs


def test_outputs_equal_those_of_quantized_copies(folded_network, smoke_images):
    few = smoke_images[:30]
    pairs = importance.one_layer_quantized(folded_network, few, (4, 2), SCHEME, ["L13", "L16"], 20)
    seen = []
    for name, bits, logits in pairs:
        copy = quantize_network(folded_network, {name: Bits(bits)}, SCHEME)
        np.testing.assert_allclose(logits, predict_logits(copy, few), atol=1e-5)
        seen.append((name, bits))
    assert seen == [("L13", 4), ("L13", 2), ("L16", 4), ("L16", 2)]


@pytest.fixture(scope="module")
def logits():
    generator = np.random.default_rng(3)
    reference = generator.normal(0, 3, (len(LABELS), 3))
    changed = {
        (name, b): reference + generator.normal(0, 1, reference.shape)
        for name in LAYERS
        for b in WIDTHS
    }
    return reference, changed


def triples(changed):
    return [(name, bits, logits) for (name, bits), logits in reversed(changed.items())]


def test_loss_increase_is_torchs_cross_entropy_class_by_class(logits):
    reference, changed = logits
    found = importance.loss_increase(reference, triples(changed), LABELS, GROUPS, LAYERS, WIDTHS)
    truth = torch.from_numpy(LABELS)

    def loss(outputs, mine):
        return float(F.cross_entropy(torch.from_numpy(outputs)[mine], truth[mine]))

    expected = [
        [[loss(changed[n, b], mine) - loss(reference, mine) for b in WIDTHS] for n in LAYERS]
        for mine in MEMBERS
    ]
    np.testing.assert_allclose(found, with_group(expected))


def test_kl_divergence_is_scipys_class_by_class(logits):
    reference, changed = logits
    found = importance.kl_divergence(reference, triples(changed), LABELS, GROUPS, LAYERS, WIDTHS)
    each = {k: entropy(softmax(reference, 1), softmax(v, 1), axis=1) for k, v in changed.items()}
    expected = [[[each[n, b][mine].mean() for b in WIDTHS] for n in LAYERS] for mine in MEMBERS]
    np.testing.assert_allclose(found, with_group(expected))
    assert (found > 0).all()


def test_extreme_logits_give_finite_scores():
    reference = np.array([[1000.0, 0.0], [0.0, 1000.0]], dtype=np.float32)
    for score in (importance.loss_increase, importance.kl_divergence):
        found = score(
            reference, [("L1", 4, reference[::-1])], np.array([0, 1]), {"all": [0, 1]}, ["L1"], [4]
        )
        assert found == pytest.approx(1000.0)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        pytest.param(lambda t: t[1:], "'L3' at 2 bits are missing", id="missing"),
        pytest.param(lambda t: [*t, ("L9", 2, t[0][2])], "'L9' at 2 bits were not", id="unknown"),
        pytest.param(lambda t: [("L1", 8, t[0][2][:5])], "shape .5, 3.", id="other-images"),
    ],
)
def test_outputs_that_do_not_fit_are_refused(logits, change, says):
    reference, changed = logits
    with pytest.raises(InputError, match=says):
        importance.kl_divergence(
            reference, change(triples(changed)), LABELS, GROUPS, LAYERS, WIDTHS
        )


# ---- noise


@pytest.mark.parametrize("scheme", ["w-tensor", "w-channel"])
def test_sqnr_is_its_definition(folded_network, scheme):
    found = importance.sqnr(folded_network, WIDTHS, SCHEMES[scheme])
    for i, layer in enumerate(quantizable_layers(folded_network).values()):
        w = layer.weight.data.numpy().astype(np.float64)
        for j, bits in enumerate(WIDTHS):
            rounded = quantized_weight(layer.weight.data, bits, SCHEMES[scheme]).numpy()
            ratio = np.sum(w**2) / np.sum((w - rounded) ** 2)
            assert found[i, j] == pytest.approx(10 * np.log10(ratio))
    assert (np.diff(found, axis=1) < 0).all()  # fewer bits, more noise


def test_weights_on_the_grid_have_no_noise(network):
    on_grid = quantize_network(network, {"L1": Bits(4)}, SCHEME)
    assert importance.squared_noise(on_grid, (4,), SCHEME, ["L1"])[0, 0] < 1e-12
    ones = quantize_network(network, {}, SCHEME)
    quantizable_layers(ones)["L1"].weight.data.fill_(1.0)
    assert importance.sqnr(ones, (2,), SCHEME, ["L1"])[0, 0] == np.inf


def test_output_sqnr_compares_each_layers_outputs_on_its_float_input(network, images):
    found = importance.output_sqnr(network, images, LABELS, WIDTHS, SCHEME, GROUPS, batch=5)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
    x = network.normalize(pixels)
    for i, unit in enumerate([network.backbone.L1, network.backbone.L2, network.classifier]):
        layer = getattr(unit, "layer", unit)
        for j, bits in enumerate(WIDTHS):
            w = quantized_weight(layer.weight.data, bits, SCHEME).double()
            plain = layer(x)
            noisy = F.linear(x, w, layer.bias) if i else F.conv2d(x, w, layer.bias, padding=1)
            signal = plain.flatten(1).square().sum(1).numpy()
            noise = (noisy - plain).flatten(1).square().sum(1).numpy()
            powers = with_group([[signal[m].mean(), noise[m].mean()] for m in MEMBERS])
            np.testing.assert_allclose(found[:, i, j], 10 * np.log10(powers[:, 0] / powers[:, 1]))
        x = unit(x) if i else network.backbone.flatten(network.backbone.pool1(unit(x)))
    assert all(not layer._forward_hooks for layer in quantizable_layers(network).values())


# ---- gradients


def test_fisher_is_the_mean_squared_gradient_of_single_images(network, images):
    each = np.array(
        [
            [float(g.square().sum()) for g in gradients_of(network, images, [i])]
            for i in range(len(images))
        ]
    )
    expected = with_group([each[mine].mean(0) for mine in MEMBERS])
    for batch in (5, 100):
        found = importance.fisher(network, images, LABELS, GROUPS, batch=batch)
        np.testing.assert_allclose(found, expected)


def test_fit_is_the_fisher_trace_times_the_mean_squared_noise(network, images):
    trace = importance.fisher(network, images, LABELS, GROUPS)
    noise = np.array([[np.mean(n**2) for n in row] for row in noise_by_hand(network)])
    found = importance.fit(network, images, LABELS, WIDTHS, SCHEME, GROUPS)
    np.testing.assert_allclose(found, trace[:, :, None] * noise)


def test_gradient_importances_and_taylor_are_those_of_autograd(network, images):
    weights = [w.numpy() for w in weights_of(network).values()]
    plain, grape, first = [], [], []
    for mine in (*MEMBERS, None):
        if mine is None:  # the group: mean of the two classes' gradients
            pairs = zip(*[gradients_of(network, images, m) for m in MEMBERS[1:]], strict=True)
            gradients = [((a + b) / 2).numpy() for a, b in pairs]
        else:
            gradients = [g.numpy() for g in gradients_of(network, images, mine)]
        plain.append([np.abs(g).mean() for g in gradients])
        grape.append([np.mean((g * w) ** 2) for g, w in zip(gradients, weights, strict=True)])
        pairs = zip(gradients, noise_by_hand(network), strict=True)
        first.append([[np.sum(g * n) for n in row] for g, row in pairs])
    given = (network, images, LABELS)
    for measure, expected in (("gradient", plain), ("grape", grape)):
        found = importance.gradient_importance(*given, GROUPS, measure, batch=4)
        np.testing.assert_allclose(found, expected)
    found = importance.taylor(*given, WIDTHS, SCHEME, GROUPS, batch=4)
    np.testing.assert_allclose(found, first, rtol=1e-6)


def test_taylor_predicts_the_loss_increase_of_fine_grids(network, images):
    predicted = importance.taylor(network, images, LABELS, (8,), SCHEME, CLASSES)
    outputs = importance.one_layer_quantized(network, images, (8,), SCHEME)
    reference = predict_logits(network, images)
    measured = importance.loss_increase(reference, outputs, LABELS, CLASSES, LAYERS, (8,))
    np.testing.assert_allclose(predicted, measured, atol=0.1 * np.abs(measured).max())


# ---- curvature


def test_hutchinsons_trace_is_within_its_standard_error_of_the_exact_one(network, images, hessians):
    exact = with_group([[np.trace(block) for block in blocks] for blocks in hessians])
    found = importance.hessian_trace(network, images, LABELS, GROUPS, probes=200)
    assert (np.abs(found.trace - exact) < 4 * found.standard_error).all()
    assert (found.standard_error < 0.2 * np.abs(exact).max()).all()


def test_batches_make_no_difference_to_the_trace(network, images):
    whole, parts = (
        importance.hessian_trace(network, images, LABELS, GROUPS, probes=4, batch=batch)
        for batch in (100, 2)
    )
    np.testing.assert_allclose(parts.trace, whole.trace)
    np.testing.assert_allclose(parts.standard_error, whole.standard_error)


def test_the_standard_error_is_the_spread_of_repeated_estimates(network, images):
    estimates = [
        importance.hessian_trace(network, images, LABELS, CLASSES, ["L3"], probes=20, seed=seed)
        for seed in range(40)
    ]
    spread = np.std([e.trace for e in estimates], axis=0, ddof=1)
    claimed = np.sqrt(np.mean([e.standard_error**2 for e in estimates], axis=0))
    np.testing.assert_allclose(claimed, spread, rtol=0.4)


def test_the_top_eigenvalue_is_the_exact_hessians(network, images, hessians):
    found = importance.top_eigenvalue(
        network, images, LABELS, CLASSES, iterations=500, tolerance=1e-6, batch=4
    )
    for row, blocks in zip(found.value, hessians, strict=True):
        for value, block in zip(row, blocks, strict=True):
            eigenvalues = np.linalg.eigvalsh(block)
            assert value == pytest.approx(eigenvalues[np.abs(eigenvalues).argmax()], rel=1e-4)


def test_an_early_end_of_the_power_iteration_is_bounded_by_its_residual(network, images, hessians):
    found = importance.top_eigenvalue(network, images, LABELS, CLASSES, ["L2"], iterations=2)
    for value, residual, blocks in zip(found.value, found.residual, hessians, strict=True):
        distance = np.abs(np.linalg.eigvalsh(blocks[1]) - value[0]).min()
        assert distance <= residual[0] * (1 + 1e-9)


def test_perturbation_takes_traces_of_its_layers_only(network):
    with pytest.raises(InputError, match="there are 3 layers"):
        importance.perturbation(np.ones((2, 2)), network, WIDTHS, SCHEME)


# ---- reducers


def test_reducers_agree_with_brute_force():
    scores = np.random.default_rng(5).exponential(size=(10, 4, 3))
    by_hand = {
        "max": max,
        "mean": lambda column: sum(column) / 10,
        "cvar": lambda column: sum(sorted(column)[-3:]) / 3,
    }
    for reducer, reduce in by_hand.items():
        found = importance.reduce_groups(
            scores, reducer, alpha=0.7
        )  # 0.3 * 10 is above 3 in floats
        expected = [[reduce(scores[:, i, j].tolist()) for j in range(3)] for i in range(4)]
        np.testing.assert_allclose(found, expected)
    shares = [group.sum() / scores.sum() for group in scores]
    expected = np.max([group / share for group, share in zip(scores, shares, strict=True)], axis=0)
    np.testing.assert_allclose(importance.reduce_groups(scores, "balanced"), expected)
    np.testing.assert_allclose(importance.reduce_groups(scores, "cvar", 0.0), scores.mean(0))
    np.testing.assert_array_equal(importance.reduce_groups(scores, "cvar", 0.99), scores.max(0))


def test_balanced_bears_groups_without_importance():
    assert importance.reduce_groups(np.zeros((2, 3)), "balanced").tolist() == [0, 0, 0]
    found = importance.reduce_groups(np.array([[0.0, 0.0], [1.0, 3.0]]), "balanced")
    assert found.tolist() == [1, 3]


@pytest.mark.parametrize(
    ("scores", "reducer", "alpha", "says"),
    [
        pytest.param(np.ones((2, 2)), "median", 0.9, "'median' is unknown", id="reducer"),
        pytest.param(np.ones((2, 2)), "cvar", 1.0, "alpha from 0 to below 1", id="alpha"),
        pytest.param(np.array([[1, np.nan]]), "max", 0.9, "not a finite number", id="nan"),
        pytest.param(-np.ones((2, 2)), "balanced", 0.9, "no negative scores", id="negative"),
    ],
)
def test_reducers_refuse_what_they_cannot_reduce(scores, reducer, alpha, says):
    with pytest.raises(InputError, match=says):
        importance.reduce_groups(scores, reducer, alpha)


# ---- learned importance


@pytest.mark.parametrize("bits", WIDTHS)
def test_the_step_size_has_lsqs_forward_and_gradient(bits):
    torch.manual_seed(0)
    weight, quant_max = torch.randn(3, 2, 3, 3, dtype=torch.float64), 2 ** (bits - 1) - 1
    step = torch.tensor(2.0 / quant_max / 1.7, dtype=torch.float64, requires_grad=True)
    found = learned_step_quantize(weight, step, bits)
    upstream = torch.randn_like(found)
    found.backward(upstream)
    scaled = weight.numpy() / step.item()
    clipped = np.abs(scaled) >= quant_max
    assert clipped.any()
    assert not clipped.all()
    whole = np.round(np.clip(scaled, -quant_max, quant_max))
    np.testing.assert_allclose(found.detach(), whole * step.item())
    local = np.where(clipped, np.sign(scaled) * quant_max, whole - scaled)  # LSQ, eq. 3
    expected = np.sum(upstream.numpy() * local) / np.sqrt(quant_max * weight.numel())
    assert step.grad.item() == pytest.approx(expected)


def learn(network, images, **given):
    given = {"steps": 60, "batch": 12, "learning_rate": 0.02} | given
    return importance.learned_importance(network, images, LABELS, list(CLASSES), (4, 2), **given)


def test_learned_steps_lower_the_loss_and_come_again(network, images):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    first, last = learn(network, images, learning_rate=0.0), learn(network, images)
    share = importance.groups.image_weights(LABELS, {"all": [0, 1, 2]})[0]

    def loss(steps):
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
        rounded = {
            name: learned_step_quantize(weight, torch.tensor(step), 2)
            for (name, weight), step in zip(weights_of(network).items(), steps[:, 1], strict=True)
        }
        outputs = torch.func.functional_call(network, rounded, (pixels,))
        losses = F.cross_entropy(outputs, torch.from_numpy(LABELS), reduction="none")
        return float((losses.numpy() * share).sum())

    assert last.shape == (3, 2)
    assert (np.abs(np.log(last / first)) < 60 * 0.02 * 1.5).all()  # none ran away
    assert loss(last) < loss(first)
    np.testing.assert_array_equal(learn(network, images), last)
    assert (learn(network, images, seed=1) != last).any()
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


# ---- errors, for every score that takes images


def scores(network, images, labels, groups, layers):
    given = (network, images, labels)
    return {
        "output_sqnr": lambda: importance.output_sqnr(*given, WIDTHS, SCHEME, groups, layers),
        "fisher": lambda: importance.fisher(*given, groups, layers),
        "fit": lambda: importance.fit(*given, WIDTHS, SCHEME, groups, layers),
        "hessian_trace": lambda: importance.hessian_trace(*given, groups, layers, probes=2),
        "top_eigenvalue": lambda: importance.top_eigenvalue(*given, groups, layers, 1),
        "gradient": lambda: importance.gradient_importance(*given, groups, "gradient", layers),
        "taylor": lambda: importance.taylor(*given, WIDTHS, SCHEME, groups, layers),
        "learned": lambda: importance.learned_importance(
            *given, list(groups), WIDTHS, layers, steps=1
        ),
    }


NAMES = list(scores(None, None, None, {}, None))


@pytest.mark.parametrize("name", NAMES)
def test_a_class_without_images_and_an_unknown_layer_are_named(network, images, name):
    without = LABELS[:8]  # no dog
    with pytest.raises(InputError, match="class 2 of group 'dog' has no image"):
        scores(network, images[:8], without, CLASSES, None)[name]()
    with pytest.raises(InputError, match=r"no layer 'L7': the layers are L1, L2, L3"):
        scores(network, images, LABELS, CLASSES, ["L1", "L7"])[name]()


@pytest.mark.parametrize("name", NAMES)
def test_chosen_layers_are_scored_in_the_order_given(network, images, name):
    if name in ("hessian_trace", "learned"):  # random draws depend on the layers beside
        found = scores(network, images, LABELS, CLASSES, ["L3", "L1"])[name]()
        shape = np.shape(found.trace if name == "hessian_trace" else found)
        assert shape == ((3, 2) if name == "hessian_trace" else (2, 3))
        return
    two, every = (
        scores(network, images, LABELS, CLASSES, layers)[name]() for layers in (["L3", "L1"], None)
    )
    if name == "top_eigenvalue":
        two, every = two.value, every.value
    np.testing.assert_allclose(two, every[:, [2, 0]])


@pytest.mark.parametrize(
    ("call", "says"),
    [
        pytest.param(lambda *g: importance.fisher(*g, {}), "no group", id="no-group"),
        pytest.param(lambda *g: importance.fisher(*g, {"few": []}), "'few' has no", id="empty"),
        pytest.param(lambda *g: importance.fisher(*g, CLASSES, []), "no layer was", id="no-layer"),
        pytest.param(
            lambda *g: importance.gradient_importance(*g, CLASSES, "cube"), "'cube'", id="measure"
        ),
        pytest.param(
            lambda *g: importance.hessian_trace(*g, CLASSES, probes=1), "at least 2", id="probes"
        ),
        pytest.param(
            lambda *g: importance.top_eigenvalue(*g, CLASSES, iterations=0), "at least 1", id="none"
        ),
        pytest.param(
            lambda *g: importance.learned_importance(*g, list(CLASSES), WIDTHS, steps=0),
            "at least 1 step", id="steps",
        ),
        pytest.param(
            lambda *g: importance.taylor(*g, (9,), SCHEME, CLASSES), "9 bits", id="bits"
        ),
    ],
)  # fmt: skip
def test_bad_settings_are_refused(network, images, call, says):
    with pytest.raises(InputError, match=says):
        call(network, images, LABELS)


def test_every_score_runs_on_a_residual_network(images):
    torch.manual_seed(0)
    network = models.fold_batchnorm(models.resnet32(1 / 8, 3))
    large = np.repeat(np.repeat(images, 4, axis=1), 4, axis=2)
    for name, score in scores(network, large, LABELS, CLASSES, ["L1", "L17", "L32"]).items():
        found = score()
        values = found[0] if isinstance(found, tuple) else found
        assert np.isfinite(values).all(), name
