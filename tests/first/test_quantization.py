"""Quantization: properties of the grids, agreement with torch's own, and whole networks."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch.ao.quantization import MinMaxObserver, PerChannelMinMaxObserver

from ltqlib.first.errors import InputError
from ltqlib.first.models import predict_logits, quantizable_layers
from ltqlib.first.quantization import (
    SCHEMES,
    Bits,
    Scheme,
    calibrate,
    choose_qparams,
    dequantize,
    fake_quantize,
    quantize,
    quantize_network,
)
from ltqlib.first.quantization.calibration import METHODS, choose_range
from ltqlib.first.quantization.ptq import activation_qparams

BITS = st.integers(2, 8)
VALUES = st.floats(-1e4, 1e4, width=32)
TENSORS = arrays(np.float32, st.integers(1, 40), elements=VALUES).map(torch.from_numpy)
MATRICES = arrays(np.float32, (3, 12), elements=VALUES).map(torch.from_numpy)
NORMAL = torch.randn(4, 5_000, generator=torch.Generator().manual_seed(0)) * torch.tensor(
    [[0.01], [1.0], [3.0], [200.0]]
)
symmetric_or_not = pytest.mark.parametrize("symmetric", [True, False], ids=["symm", "asymm"])
every_width = pytest.mark.parametrize("bits", range(2, 9), ids=lambda bits: f"{bits} bits")


def min_max(x, bits, symmetric):
    return choose_qparams(x.min(), x.max(), bits, symmetric)


@given(TENSORS, TENSORS, BITS, st.booleans())
def test_fake_quantization_is_quantize_then_dequantize(x, seen, bits, symmetric):
    grid = min_max(seen, bits, symmetric)  # x may lie outside of it
    integers = quantize(x, grid)
    assert torch.equal(fake_quantize(x, grid), dequantize(integers, grid))
    assert integers.dtype == torch.int32
    assert integers.min() >= grid.quant_min
    assert integers.max() <= grid.quant_max


@given(TENSORS, BITS, st.booleans())
def test_the_error_is_at_most_half_a_step(x, bits, symmetric):
    grid = min_max(x, bits, symmetric)
    error = (fake_quantize(x, grid).double() - x.double()).abs()
    assert error.max() <= float(grid.scale) * (0.5 + 1e-4)


@given(TENSORS, BITS, st.booleans())
def test_rounding_twice_is_rounding_once(x, bits, symmetric):
    grid = min_max(x, bits, symmetric)
    once = fake_quantize(x, grid)
    assert torch.equal(fake_quantize(once, grid), once)


@given(TENSORS, BITS, st.booleans())
def test_there_are_at_most_two_to_the_bits_levels_and_zero_is_one(x, bits, symmetric):
    grid = min_max(x, bits, symmetric)
    levels = fake_quantize(torch.cat([x, torch.linspace(-2e4, 2e4, 2_000)]), grid).unique()
    assert len(levels) <= 2**bits - symmetric
    assert float(fake_quantize(torch.zeros(1), grid)) == 0.0


@given(TENSORS, BITS, st.booleans())
def test_larger_values_never_become_smaller(x, bits, symmetric):
    ordered = fake_quantize(x.sort().values, min_max(x, bits, symmetric))
    assert (ordered.diff() >= 0).all()


@given(TENSORS, BITS)
def test_a_symmetric_grid_is_odd(x, bits):
    grid = min_max(x, bits, symmetric=True)
    assert torch.equal(fake_quantize(-x, grid), -fake_quantize(x, grid))


@given(MATRICES, BITS, st.booleans())
def test_a_grid_a_channel_is_a_grid_a_tensor_for_each_slice(x, bits, symmetric):
    grid = choose_qparams(x.amin(1), x.amax(1), bits, symmetric)
    slices = [min_max(row, bits, symmetric) for row in x]
    assert torch.equal(
        fake_quantize(x, grid),
        torch.stack([fake_quantize(row, one) for row, one in zip(x, slices, strict=True)]),
    )
    assert torch.equal(
        quantize(x, grid),
        torch.stack([quantize(row, one) for row, one in zip(x, slices, strict=True)]),
    )


@given(TENSORS, st.booleans())
def test_more_bits_never_make_the_step_larger(x, symmetric):
    scales = torch.stack([min_max(x, bits, symmetric).scale for bits in range(2, 9)])
    assert (scales.diff() <= 0).all()


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
@pytest.mark.parametrize("row", NORMAL, ids=["std 0.01", "std 1", "std 3", "std 200"])
def test_eight_bits_agree_with_torch_quantized_tensors(row):
    grid = min_max(row, 8, symmetric=False)
    theirs = torch.quantize_per_tensor(row, grid.scale, grid.zero_point, torch.quint8)
    assert torch.equal(quantize(row, grid), theirs.int_repr().int())
    assert torch.equal(dequantize(quantize(row, grid), grid), theirs.dequantize())


@every_width
@symmetric_or_not
def test_min_max_grids_agree_with_torch_observers(bits, symmetric):
    observer = MinMaxObserver(
        dtype=torch.qint8 if symmetric else torch.quint8,
        qscheme=torch.per_tensor_symmetric if symmetric else torch.per_tensor_affine,
        quant_min=-(2 ** (bits - 1)) + 1 if symmetric else 0,
        quant_max=2 ** (bits - 1) - 1 if symmetric else 2**bits - 1,
    )
    for row in NORMAL:
        observer.reset_min_max_vals()
        observer(row)
        scale, zero_point = observer.calculate_qparams()
        grid = choose_qparams(
            *(r[0] for r in choose_range(row[None], "min-max", bits, symmetric)), bits, symmetric
        )
        torch.testing.assert_close(grid.scale, scale[0])
        assert int(grid.zero_point) == int(zero_point)


def test_min_max_a_channel_agrees_with_torch_observer():
    observer = PerChannelMinMaxObserver(
        dtype=torch.qint8, qscheme=torch.per_channel_symmetric, quant_min=-127, quant_max=127
    )
    observer(NORMAL)
    grid = choose_qparams(*choose_range(NORMAL, "min-max", 8, True), 8, True)
    torch.testing.assert_close(grid.scale, observer.calculate_qparams()[0])


@pytest.mark.parametrize("count", [1, 9, 999, 1_000, 2_500, 20_000])
def test_percentile_leaves_out_a_thousandth_on_each_side(count):
    x = NORMAL.reshape(1, -1)[:, :count]
    low, high = (float(value) for value in choose_range(x, "percentile", 8, False))
    outside = max(0, round(count / 1_000) - 1)
    found = np.partition(x.numpy()[0], [outside, count - 1 - outside])
    assert (low, high) == (found[outside], found[count - 1 - outside])


@given(MATRICES, BITS, st.booleans())
def test_the_least_error_range_is_never_worse_than_min_max(x, bits, symmetric):
    def error(method):
        grid = choose_qparams(*choose_range(x, method, bits, symmetric), bits, symmetric)
        return (fake_quantize(x, grid) - x).square().mean(1)

    assert (error("mse") <= error("min-max")).all()


def test_the_least_error_range_clips_a_heavy_tail():
    x = torch.cat([NORMAL[1], torch.tensor([40.0])])[None]
    _, high = choose_range(x, "mse", 4, True)
    assert 1 < float(high) < 20


@pytest.mark.parametrize("bits", [-1, 0, 1, 9, 32])
@symmetric_or_not
def test_bits_outside_2_to_8_are_refused(bits, symmetric):
    with pytest.raises(InputError, match=f"^{bits} bits: .* takes 2 to 8$"):
        choose_qparams(torch.tensor(-1.0), torch.tensor(1.0), bits, symmetric)


def test_an_unknown_calibration_is_refused():
    with pytest.raises(InputError, match="'entropy' is unknown: use one of min-max, percentile"):
        choose_range(NORMAL, "entropy", 8, True)


@pytest.mark.parametrize("value", [0.0, 1.0, -3.5, 1e-42], ids=lambda value: f"all {value}")
@pytest.mark.parametrize("method", METHODS)
@symmetric_or_not
def test_constant_tensors_stay_finite(value, method, symmetric):
    x = torch.full((2, 30), value)
    for bits in (2, 8):
        grid = choose_qparams(*choose_range(x, method, bits, symmetric), bits, symmetric)
        assert torch.isfinite(grid.scale).all()
        assert (grid.scale > 0).all()
        torch.testing.assert_close(fake_quantize(x, grid), x, rtol=1e-6, atol=1e-37)


@pytest.fixture(scope="module")
def calibration(folded_network, digits):
    """Layer inputs of 300 training images: one full batch and one that is not."""
    return calibrate(folded_network, digits.train_images[::4])


def state(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def layer_inputs(network, images, batch=256):
    """Every input of every layer, concatenated: the plain way to calibrate."""
    found, handles = {name: [] for name in quantizable_layers(network)}, []
    for name, layer in quantizable_layers(network).items():
        keep = lambda _, inputs, name=name: found[name].append(inputs[0].flatten())  # noqa: E731
        handles.append(layer.register_forward_pre_hook(keep))
    predict_logits(network, images, batch)
    for handle in handles:
        handle.remove()
    return {name: torch.cat(parts) for name, parts in found.items()}


def test_quantizing_a_network_changes_the_named_layers_of_a_copy(folded_network):
    before = state(folded_network)
    quantized = quantize_network(
        folded_network, {"L3": Bits(4), "L16": Bits(2)}, SCHEMES["w-tensor"]
    )
    after = state(quantized)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"backbone.L3.layer.weight", "classifier.weight"}
    assert all(torch.equal(value, before[name]) for name, value in state(folded_network).items())


@pytest.mark.parametrize("bits", [2, 4, 8], ids=lambda bits: f"{bits} bits")
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("per_channel", [False, True], ids=["tensor", "channel"])
def test_weights_lie_on_a_grid_of_few_levels(folded_network, bits, method, per_channel):
    scheme = Scheme(weight_per_channel=per_channel, weight_method=method)
    names = quantizable_layers(folded_network)
    quantized = quantize_network(folded_network, dict.fromkeys(names, Bits(bits)), scheme)
    for layer in quantizable_layers(quantized).values():
        for weight in layer.weight if per_channel else [layer.weight]:
            assert len(weight.unique()) <= 2**bits - 1


def test_inputs_lie_on_a_grid_of_few_levels(folded_network, calibration, smoke_images):
    bit_config = {"L2": Bits(None, 3), "L15": Bits(None, 2)}
    quantized = quantize_network(folded_network, bit_config, SCHEMES["wa-tensor"], calibration)
    inputs = layer_inputs(quantized, smoke_images[:50])
    for name, bits in (("L2", 3), ("L15", 2)):
        grid = activation_qparams(calibration[name], bits, SCHEMES["wa-tensor"])
        levels = dequantize(torch.arange(2**bits), grid)
        found = inputs[name].unique()
        assert 2 < len(found) <= 2**bits  # which of them occur is a matter of the images
        assert torch.isin(found, levels).all()
    assert len(inputs["L3"].unique()) > 2**8


def test_calibration_holds_the_exact_range_and_is_the_same_again(
    folded_network, calibration, digits
):
    inputs = layer_inputs(folded_network, digits.train_images[::4])
    again = calibrate(folded_network, digits.train_images[::4])
    assert list(calibration) == list(inputs)
    for name, sample in calibration.items():
        assert sample.min() == inputs[name].min()
        assert sample.max() == inputs[name].max()
        assert len(sample) <= 300_000
        assert torch.isin(sample, inputs[name]).all()
        assert torch.equal(sample, again[name])


def test_calibration_leaves_no_hook_behind(folded_network, digits):
    calibrate(folded_network, digits.train_images[:4])
    assert not any(layer._forward_pre_hooks for layer in folded_network.modules())


def test_a_layer_that_is_not_there_is_refused(folded_network):
    with pytest.raises(InputError, match=r"names 'L17': the layers are L1, .*L16$"):
        quantize_network(folded_network, {"L17": Bits(4)}, SCHEMES["w-tensor"])


def test_activations_without_calibration_are_refused(folded_network):
    with pytest.raises(InputError, match="act_bits of L2 need calibration images"):
        quantize_network(folded_network, {"L2": Bits(8, 8)}, SCHEMES["wa-tensor"])


@pytest.mark.parametrize("scheme", SCHEMES)
def test_eight_bits_keep_95_percent_of_the_predictions(
    folded_network, calibration, smoke_images, scheme
):
    everywhere = dict.fromkeys(quantizable_layers(folded_network), SCHEMES[scheme].bits(8))
    quantized = quantize_network(folded_network, everywhere, SCHEMES[scheme], calibration)
    before, after = (
        predict_logits(network, smoke_images).argmax(1) for network in (folded_network, quantized)
    )
    assert (before == after).mean() >= 0.95
