"""GPTQ: second moments against unfolded patches, rounding against explicit inverses."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ltqlib.errors import InputError
from ltqlib.quantization import methods
from ltqlib.quantization.grids import choose_qparams, dequantize, quantize
from ltqlib.quantization.methods import gptq as gptq_module
from ltqlib.quantization.methods.gptq import BLOCK, DAMPING, round_columns


@pytest.fixture(scope="module")
def moments(graph, images):
    return methods.get("gptq-tensor").samples(graph, images)


def inputs_of(graph, images):
    kept = {}
    graph.module(inputs={n: lambda x, n=n: kept.setdefault(n, x) for n in graph.layers})(images)
    return kept


def moment(patches):
    """(groups, positions, K) to (groups, K, K)."""
    return patches.transpose(1, 2) @ patches


def unfolded(x, groups, kernel, **geometry):
    """(groups, positions, K)."""
    patches = F.unfold(x, kernel, **geometry).unflatten(1, (groups, -1))
    return patches.permute(1, 0, 3, 2).flatten(1, 2)


def test_second_moments_are_those_of_the_patches(graph, images, moments):
    x = inputs_of(graph, images)
    expected = {
        "first": moment(unfolded(x["first"], 1, 3, padding=1)),
        "grouped": moment(unfolded(x["grouped"], 4, 3, stride=2)),
        "depthwise": moment(unfolded(x["depthwise"], 8, 3, padding=1)),
        "hidden": moment(x["hidden"][None]),
        "head": moment(x["head"][None]),
    }
    # stride 2 and a kernel of 2: every output sees one input pixel through one of four taps
    pixels = x["transposed"].unflatten(1, (2, 4)).permute(1, 0, 3, 4, 2).flatten(1, 3)
    taps = torch.eye(4)
    expected["transposed"] = torch.stack([torch.kron(m, taps) for m in moment(pixels)])
    assert list(moments) == list(graph.layers)
    for name, found in moments.items():
        scale = expected[name].abs().max()
        torch.testing.assert_close(found / scale, expected[name] / scale)


def by_explicit_inverses(weight, grid, hessian):
    """Optimal brain quantization in fixed order, as the paper's section 3 states it (eq. 2, 3)."""
    w = weight.double().clone()
    out = torch.zeros_like(w)
    for k in range(w.shape[1]):
        left = slice(k, None)  # the columns that are not yet rounded
        inverse = torch.linalg.inv(hessian[left, left])
        out[:, k] = dequantize(quantize(w[:, k], grid), grid).double()
        w[:, left] -= ((w[:, k] - out[:, k]) / inverse[0, 0])[:, None] * inverse[0]
    return out


@pytest.mark.parametrize("inputs", [12, 2 * BLOCK + 3], ids=["one block", "three blocks"])
@pytest.mark.parametrize("per_channel", [False, True], ids=["tensor", "channel"])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_rounding_is_that_of_explicit_inverses(bits, per_channel, inputs):
    generator = torch.Generator().manual_seed(bits)
    mixing = torch.randn(inputs, inputs, generator=generator)
    x = torch.randn(200, inputs, generator=generator) @ mixing
    weight = torch.randn(5, inputs, generator=generator)
    reach = weight.abs().amax(1) if per_channel else weight.abs().max()
    grid = choose_qparams(-reach, reach, bits, True)
    found = dequantize(round_columns(weight, grid, (x.T @ x)[None]), grid)
    damped = (x.T @ x).double()
    damped += DAMPING * damped.diagonal().mean() * torch.eye(inputs)
    expected = by_explicit_inverses(weight, grid, damped)
    torch.testing.assert_close(found, expected.float())


def test_groups_are_rounded_by_themselves():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 100, 6, generator=generator) @ torch.randn(3, 6, 6, generator=generator)
    weight = torch.randn(12, 2, 3, generator=generator)
    reach = weight.abs().max()
    grid = choose_qparams(-reach, reach, 3, True)
    found = round_columns(weight, grid, moment(x))
    parts = [
        round_columns(w, grid, m[None]) for w, m in zip(weight.split(4), moment(x), strict=True)
    ]
    assert torch.equal(found, torch.cat(parts))


def test_independent_inputs_are_rounded_to_nearest():
    weight = torch.randn(6, 20, generator=torch.Generator().manual_seed(0))
    grid = choose_qparams(-weight.abs().max(), weight.abs().max(), 3, True)
    scaled = torch.diag(torch.rand(20) * (torch.arange(20) > 2))  # three inputs are always zero
    assert torch.equal(round_columns(weight, grid, scaled[None]), quantize(weight, grid))


def test_it_is_close_to_the_best_of_all_roundings():
    """Four weights on a grid of seven levels: every one of 2,401 roundings is tried."""
    best, nearest, gptq = [], [], []
    for seed in range(20):
        generator = np.random.default_rng(seed)
        x = generator.normal(size=(50, 4)) @ generator.normal(size=(4, 4))
        w = generator.normal(size=4)
        reach = torch.tensor(np.abs(w).max())
        grid = choose_qparams(-reach, reach, 3, True)
        levels = dequantize(torch.arange(-3, 4), grid).numpy()
        every = np.array(list(itertools.product(levels, repeat=4)))
        best.append(np.square((every - w) @ x.T).sum(1).min())
        row, second = torch.tensor(w)[None], torch.tensor(x.T @ x)[None]
        for kept, integers in (
            (nearest, quantize(row, grid)),
            (gptq, round_columns(row, grid, second)),
        ):
            kept.append(np.square((dequantize(integers, grid).numpy()[0] - w) @ x.T).sum())
    assert (np.array(best) <= np.array(gptq) + 1e-9).all()
    assert np.mean(gptq) < 0.6 * np.mean(nearest)
    assert np.mean(gptq) < 2 * np.mean(best)


@pytest.mark.parametrize("grids", ["tensor", "channel"])
def test_layers_move_their_outputs_less_on_the_same_grid(graph, images, grids):
    gptq, nearest = methods.get(f"gptq-{grids}"), methods.get(f"w-{grids}")
    assert gptq.local
    assert gptq.calibrated
    assert not gptq.activations
    better = gptq.quantize(graph, dict.fromkeys(graph.layers, 3), images)
    plain = nearest.quantize(graph, dict.fromkeys(graph.layers, 3))
    float_ = graph.logits(images)
    assert (better(images) - float_).norm() < 0.9 * (plain(images) - float_).norm()
    for layer, variant in better.variants.items():
        assert torch.equal(variant.weight.qparams.scale, plain.variants[layer].weight.qparams.scale)
        assert variant.weight.integers.shape == graph.weight(layer).shape
    assert better.model_size == plain.model_size


def test_a_layers_form_depends_on_its_own_bits_alone(graph, images):
    gptq = methods.get("gptq-tensor")
    mixed = gptq.quantize(graph, {"first": 2, "head": 4}, images).variants["head"].weight
    alone = gptq.quantize(graph, {"head": 4}, images).variants["head"].weight
    assert torch.equal(mixed.integers, alone.integers)


def test_very_wide_layers_are_named(graph, images, monkeypatch):
    monkeypatch.setattr(gptq_module, "MOST_INPUTS", 100)
    method = methods.get("gptq-tensor")
    assert "hidden" not in method.samples(graph, images)  # 216 inputs
    with pytest.raises(InputError, match="'hidden' has 216 inputs, 'gptq-tensor' takes 100"):
        method.quantize(graph, {"hidden": 4}, images)


def test_it_needs_images(graph):
    with pytest.raises(InputError, match="'gptq-tensor' needs calibration images"):
        methods.get("gptq-tensor").quantize(graph, {"head": 4})
    with pytest.raises(InputError, match="'head' cannot be rounded by 'gptq-tensor' without"):
        methods.get("gptq-tensor").variant(graph, "head", 4)
