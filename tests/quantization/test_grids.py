"""Properties of the grids, and agreement with torch's own quantizers and torchao's."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ltqlib.errors import InputError
from ltqlib.quantization.calibration import RANGES, choose_range
from ltqlib.quantization.grids import (
    QParams,
    choose_qparams,
    dequantize,
    fake_quantize,
    quantize,
)

with warnings.catch_warnings():  # both warn on import of what they will drop
    warnings.simplefilter("ignore")
    from torch.ao.quantization import MinMaxObserver, PerChannelMinMaxObserver
    from torchao.quantization import MappingType
    from torchao.quantization.quant_primitives import (
        choose_qparams_affine,
        dequantize_affine,
        quantize_affine,
    )

BITS = st.integers(2, 8)
VALUES = st.floats(-1e4, 1e4, width=32)
TENSORS = arrays(np.float32, st.integers(1, 40), elements=VALUES).map(torch.from_numpy)
MATRICES = arrays(np.float32, (3, 12), elements=VALUES).map(torch.from_numpy)
NORMAL = torch.randn(4, 5_000, generator=torch.Generator().manual_seed(0)) * torch.tensor(
    [[0.01], [1.0], [3.0], [200.0]]
)
symmetric_or_not = pytest.mark.parametrize("symmetric", [True, False], ids=["symm", "asymm"])
every_width = pytest.mark.parametrize("bits", range(2, 9), ids=lambda bits: f"{bits} bits")


def min_max(x: torch.Tensor, bits: int, symmetric: bool) -> QParams:
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
    for function in (fake_quantize, quantize):
        of_slices = [function(row, one) for row, one in zip(x, slices, strict=True)]
        assert torch.equal(function(x, grid), torch.stack(of_slices))


@given(TENSORS, st.booleans())
def test_more_bits_never_make_the_step_larger(x, symmetric):
    scales = torch.stack([min_max(x, bits, symmetric).scale for bits in range(2, 9)])
    assert (scales.diff() <= 0).all()


@every_width
@symmetric_or_not
def test_a_grid_knows_its_width_and_its_bytes(bits, symmetric):
    one, four = (
        min_max(NORMAL, bits, symmetric),
        choose_qparams(NORMAL.amin(1), NORMAL.amax(1), bits, symmetric),
    )
    assert (one.bits, one.symmetric, one.per_channel) == (bits, symmetric, False)
    assert (four.bits, four.symmetric, four.per_channel) == (bits, symmetric, True)
    assert one.nbytes == (4 if symmetric else 5)
    assert four.nbytes == 4 * one.nbytes


# ---- torch's own


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
        low, high = choose_range(row[None], "min-max", bits, symmetric)
        grid = choose_qparams(low[0], high[0], bits, symmetric)
        torch.testing.assert_close(grid.scale, scale[0])
        assert int(grid.zero_point) == int(zero_point)


def test_min_max_a_channel_agrees_with_torch_observer():
    observer = PerChannelMinMaxObserver(
        dtype=torch.qint8, qscheme=torch.per_channel_symmetric, quant_min=-127, quant_max=127
    )
    observer(NORMAL)
    grid = choose_qparams(*choose_range(NORMAL, "min-max", 8, True), 8, True)
    torch.testing.assert_close(grid.scale, observer.calculate_qparams()[0])


@every_width
@symmetric_or_not
@pytest.mark.parametrize("per_channel", [False, True], ids=["tensor", "channel"])
def test_the_three_steps_agree_with_torchao(bits, symmetric, per_channel):
    rows = NORMAL if per_channel else NORMAL[1:2]
    grid = choose_qparams(rows.amin(1), rows.amax(1), bits, symmetric)
    block = (1, rows.shape[1])
    scale, zero_point = choose_qparams_affine(
        rows,
        MappingType.SYMMETRIC_NO_CLIPPING_ERR if symmetric else MappingType.ASYMMETRIC,
        block,
        torch.int32,
        grid.quant_min,
        grid.quant_max,
    )
    torch.testing.assert_close(grid.scale, scale)
    assert torch.equal(grid.zero_point.long(), zero_point.long())
    limits = (grid.quant_min, grid.quant_max)
    theirs = quantize_affine(rows, block, grid.scale, grid.zero_point, torch.int32, *limits)
    assert torch.equal(quantize(rows, grid), theirs)
    back = dequantize_affine(theirs, block, grid.scale, grid.zero_point, torch.int32, *limits)
    torch.testing.assert_close(dequantize(theirs, grid), back)


# ---- ranges


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


def test_an_unknown_range_is_refused():
    with pytest.raises(InputError, match="'entropy' is unknown: use one of min-max, percentile"):
        choose_range(NORMAL, "entropy", 8, True)


@pytest.mark.parametrize("bits", [-1, 0, 1, 9, 32])
@symmetric_or_not
def test_bits_outside_2_to_8_are_refused(bits, symmetric):
    with pytest.raises(InputError, match=f"^{bits} bits: .* takes 2 to 8$"):
        choose_qparams(torch.tensor(-1.0), torch.tensor(1.0), bits, symmetric)


@pytest.mark.parametrize("value", [0.0, 1.0, -3.5, 1e-42], ids=lambda value: f"all {value}")
@pytest.mark.parametrize("method", RANGES)
@symmetric_or_not
def test_constant_tensors_stay_finite(value, method, symmetric):
    x = torch.full((2, 30), value)
    for bits in (2, 8):
        grid = choose_qparams(*choose_range(x, method, bits, symmetric), bits, symmetric)
        assert torch.isfinite(grid.scale).all()
        assert (grid.scale > 0).all()
        torch.testing.assert_close(fake_quantize(x, grid), x, rtol=1e-6, atol=1e-37)
