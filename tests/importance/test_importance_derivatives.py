"""Gradients and curvature against autograd on the module, finite differences, exact Hessians."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_classes import BITS, GROUPS, LABELS, LAYERS, MEMBERS, with_group
from torch.func import functional_call

from ltqlib import importance
from ltqlib.errors import InputError
from ltqlib.quantization import variants


def loss_of(network, images, chosen):
    """Mean cross-entropy of some images as a function of the layers' weights."""
    labels = torch.from_numpy(LABELS[chosen])

    def loss(*weights):
        replaced = {f"{name}.weight": w for name, w in zip(LAYERS, weights, strict=True)}
        return F.cross_entropy(functional_call(network, replaced, (images[chosen],)), labels)

    return loss


def weights_of(network):
    return [network.get_submodule(name).weight.detach() for name in LAYERS]


def gradients_of(network, images, chosen):
    leaves = [w.clone().requires_grad_() for w in weights_of(network)]
    return torch.autograd.grad(loss_of(network, images, chosen)(*leaves), leaves)


@pytest.fixture(scope="module")
def hessians(network, images):
    """The exact block of each class and layer, (n, n)."""
    weights = tuple(weights_of(network))
    blocks = []
    for mine in MEMBERS:
        full = torch.autograd.functional.hessian(loss_of(network, images, mine), weights)
        blocks.append([full[i][i].reshape(w.numel(), -1).numpy() for i, w in enumerate(weights)])
    return blocks


def noise_by_hand(graph, rounded):
    return [
        [(rounded[n][b].weight.dequantize().double() - graph.weight(n)).numpy() for b in BITS]
        for n in LAYERS
    ]


def test_fisher_is_the_mean_squared_gradient_of_single_images(network, graph, images):
    each = np.array(
        [
            [float(g.square().sum()) for g in gradients_of(network, images, [i])]
            for i in range(len(images))
        ]
    )
    expected = with_group([each[mine].mean(0) for mine in MEMBERS])
    found = importance.fisher(graph, images, LABELS, GROUPS)
    assert found.dims == ("group", "layer")
    np.testing.assert_allclose(found, expected)
    by_class = importance.fisher(graph, images, LABELS)
    assert by_class.dims == ("class", "layer")
    np.testing.assert_allclose(by_class, expected[:3])


def test_fit_is_the_fisher_trace_times_the_mean_squared_noise(graph, images, rounded):
    trace = importance.fisher(graph, images, LABELS)
    noise = np.array([[np.mean(n**2) for n in row] for row in noise_by_hand(graph, rounded)])
    found = importance.fit(graph, images, LABELS, rounded)
    assert found.dims == ("class", "layer", "bits")
    np.testing.assert_allclose(found, trace.values[:, :, None] * noise)


def test_gradient_importances_and_taylor_are_those_of_autograd(network, graph, images, rounded):
    weights = [w.numpy() for w in weights_of(network)]
    plain, grape, first = [], [], []
    for mine in (*MEMBERS, None):
        if mine is None:  # the group: mean of the two classes' gradients
            pairs = zip(*[gradients_of(network, images, m) for m in MEMBERS[1:]], strict=True)
            gradients = [((a + b) / 2).numpy() for a, b in pairs]
        else:
            gradients = [g.numpy() for g in gradients_of(network, images, mine)]
        plain.append([np.abs(g).mean() for g in gradients])
        grape.append([np.mean((g * w) ** 2) for g, w in zip(gradients, weights, strict=True)])
        pairs = zip(gradients, noise_by_hand(graph, rounded), strict=True)
        first.append([[np.sum(g * n) for n in row] for g, row in pairs])
    for measure, expected in (("gradient", plain), ("grape", grape)):
        found = importance.gradient_importance(graph, images, LABELS, GROUPS, measure, batch=4)
        np.testing.assert_allclose(found, expected)
    found = importance.taylor(graph, images, LABELS, rounded, GROUPS, batch=4)
    assert found.dims == ("group", "layer", "bits")
    np.testing.assert_allclose(found, first, rtol=1e-6, atol=1e-12)


def test_gradients_are_finite_differences(graph, images):
    """Without autograd anywhere: the loss of a class as its weights move a little."""
    found = importance.gradient_importance(graph, images, LABELS, {"cat": [1]}, layers=["L2"])
    weight, step = graph.weight("L2").clone(), 1e-6

    def loss(change):
        logits = graph.module({"L2": weight + change})(images[MEMBERS[1]])
        return float(F.cross_entropy(logits, torch.ones(len(MEMBERS[1]), dtype=torch.long)))

    each = []
    for i in range(weight.numel()):
        change = torch.zeros(weight.numel(), dtype=torch.float64)
        change[i] = step
        change = change.reshape(weight.shape)
        each.append((loss(change) - loss(-change)) / (2 * step))
    assert float(found[0, 0]) == pytest.approx(np.abs(each).mean(), rel=1e-5)


def test_taylor_predicts_the_loss_increase_of_fine_grids(graph, images):
    fine = variants(graph, [8])
    predicted = importance.taylor(graph, images, LABELS, fine)
    logits = importance.one_layer_logits(graph, images, fine, LABELS)
    measured = importance.loss_increase(logits)
    np.testing.assert_allclose(predicted, measured, atol=0.1 * float(np.abs(measured).max()))


# ---- curvature


def test_hutchinsons_trace_is_within_its_standard_error_of_the_exact_one(graph, images, hessians):
    exact = with_group([[np.trace(block) for block in blocks] for blocks in hessians])
    found = importance.hessian_trace(graph, images, LABELS, GROUPS, probes=200)
    assert found.trace.dims == found.standard_error.dims == ("group", "layer")
    assert (np.abs(found.trace - exact) < 4 * found.standard_error).all()
    assert (found.standard_error < 0.2 * np.abs(exact).max()).all()


def test_batches_make_no_difference_to_the_trace(graph, images):
    whole, parts = (
        importance.hessian_trace(graph, images, LABELS, GROUPS, probes=4, batch=batch)
        for batch in (100, 2)
    )
    np.testing.assert_allclose(parts.trace, whole.trace)
    np.testing.assert_allclose(parts.standard_error, whole.standard_error)


def test_the_standard_error_is_the_spread_of_repeated_estimates(graph, images):
    estimates = [
        importance.hessian_trace(graph, images, LABELS, layers=["L3"], probes=20, seed=seed)
        for seed in range(30)
    ]
    spread = np.std([e.trace for e in estimates], axis=0, ddof=1)
    claimed = np.sqrt(np.mean([e.standard_error**2 for e in estimates], axis=0))
    np.testing.assert_allclose(claimed, spread, rtol=0.4)


def test_the_top_eigenvalue_is_the_exact_hessians(graph, images, hessians):
    found = importance.top_eigenvalue(
        graph, images, LABELS, iterations=500, tolerance=1e-6, batch=4
    )
    for row, blocks in zip(found.value.values, hessians, strict=True):
        for value, block in zip(row, blocks, strict=True):
            eigenvalues = np.linalg.eigvalsh(block)
            expected = eigenvalues[np.abs(eigenvalues).argmax()]
            assert value == pytest.approx(expected, rel=1e-4, abs=1e-9)


def test_an_early_end_of_the_power_iteration_is_bounded_by_its_residual(graph, images, hessians):
    found = importance.top_eigenvalue(graph, images, LABELS, layers=["L2"], iterations=2)
    for value, residual, blocks in zip(
        found.value.values, found.residual.values, hessians, strict=True
    ):
        distance = np.abs(np.linalg.eigvalsh(blocks[1]) - value[0]).min()
        assert distance <= residual[0] * (1 + 1e-9)


def test_hawq_is_the_trace_times_the_noise(graph, images, rounded):
    trace = importance.hessian_trace(graph, images, LABELS, probes=4).trace
    found = importance.perturbation(trace, graph, rounded)
    noise = np.array([[np.mean(n**2) for n in row] for row in noise_by_hand(graph, rounded)])
    np.testing.assert_allclose(found, trace.values[:, :, None] * noise)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        pytest.param(lambda *g: importance.gradient_importance(*g, measure="cube"), "'cube'",
                     id="measure"),
        pytest.param(lambda *g: importance.hessian_trace(*g, probes=1), "at least 2", id="probes"),
        pytest.param(lambda *g: importance.top_eigenvalue(*g, iterations=0), "at least 1",
                     id="none"),
    ],
)  # fmt: skip
def test_bad_settings_are_refused(graph, images, call, says):
    with pytest.raises(InputError, match=says):
        call(graph, images, LABELS)
