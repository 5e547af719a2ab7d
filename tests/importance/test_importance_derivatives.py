"""Gradients and curvature against autograd on the module, finite differences, exact Hessians."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_classes import BITS, LABELS, LAYERS, MEMBERS
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
    found = importance.fisher(graph, images, LABELS)
    assert found.dims == ("class", "layer")
    np.testing.assert_allclose(found, [each[mine].mean(0) for mine in MEMBERS])


def test_fit_is_the_fisher_trace_times_the_mean_squared_noise(graph, images, rounded):
    trace = importance.fisher(graph, images, LABELS)
    noise = np.array([[np.mean(n**2) for n in row] for row in noise_by_hand(graph, rounded)])
    found = importance.perturbation(trace, graph, rounded)
    assert found.dims == ("class", "layer", "bits")
    np.testing.assert_allclose(found, trace.values[:, :, None] * noise)


def test_taylor_is_the_gradient_times_the_noise(network, graph, images, rounded):
    expected = [
        [
            [np.sum(g.numpy() * n) for n in row]
            for g, row in zip(
                gradients_of(network, images, mine), noise_by_hand(graph, rounded), strict=True
            )
        ]
        for mine in MEMBERS
    ]
    for batch in (2, 100):
        found = importance.taylor(graph, images, LABELS, rounded, batch=batch)
        assert found.dims == ("class", "layer", "bits")
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-12)


def test_taylor_predicts_the_loss_increase_of_fine_grids(graph, images):
    fine = variants(graph, [8])
    predicted = importance.taylor(graph, images, LABELS, fine)
    measured = importance.loss_increase(importance.one_layer_logits(graph, images, fine, LABELS))
    np.testing.assert_allclose(predicted, measured, atol=0.1 * float(np.abs(measured).max()))


def test_hutchinsons_trace_is_within_its_standard_error_of_the_exact_one(network, graph, images):
    weights = tuple(weights_of(network))
    exact = []
    for mine in MEMBERS:
        full = torch.autograd.functional.hessian(loss_of(network, images, mine), weights)
        exact.append(
            [np.trace(full[i][i].reshape(w.numel(), -1).numpy()) for i, w in enumerate(weights)]
        )
    found = importance.hessian_trace(graph, images, LABELS, probes=200)
    assert found.trace.dims == found.standard_error.dims == ("class", "layer")
    assert (np.abs(found.trace - exact) < 4 * found.standard_error).all()
    assert (found.standard_error < 0.2 * np.abs(exact).max()).all()


def test_batches_make_no_difference_to_the_trace(graph, images):
    whole, parts = (
        importance.hessian_trace(graph, images, LABELS, probes=4, batch=batch) for batch in (100, 2)
    )
    np.testing.assert_allclose(parts.trace, whole.trace)
    np.testing.assert_allclose(parts.standard_error, whole.standard_error)


def test_one_probe_has_no_standard_error(graph, images):
    with pytest.raises(InputError, match="at least 2"):
        importance.hessian_trace(graph, images, LABELS, probes=1)
