"""Measured time: tables that hold together, kernels that compute what the simulator does."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from processor import needs_vnni

from ltqlib.allocation import Limit
from ltqlib.deploy import (
    context_latency,
    export_onnx,
    latency,
    layer_costs,
    layer_latency,
    predict_latency,
    run_onnx,
)
from ltqlib.deploy.torch_runtime import bf16_module, int8_module, qdq_module
from ltqlib.errors import InputError
from ltqlib.quantization import Quantized, Variant, quantize


@pytest.fixture(scope="module")
def rounded(graph, images) -> Quantized:
    return quantize(graph, 8, method="wa-tensor", calibration=images)


@pytest.fixture(scope="module")
def layers(rounded, images) -> dict[str, pd.DataFrame]:
    return {p: layer_latency(rounded, images, 8, p, repeats=5) for p in ("float32", "int8")}


@pytest.mark.parametrize(
    ("runtime", "precision"),
    [
        ("torch", "float32"), ("torch", "bf16"), ("onnxruntime", "float32"),
        ("onnxruntime", "int8"), ("openvino", "bf16"), ("openvino", "int8"),
    ],
)  # fmt: skip
def test_every_runtime_is_timed_at_every_batch(rounded, images, runtime, precision):
    table = latency(rounded, images[:3], runtime, (1, 8), precision, repeats=5)
    assert table.batch.tolist() == [1, 8]
    assert (table.low <= table.ms).all()
    assert (table.ms <= table.high).all()
    np.testing.assert_allclose(table.images_per_second, 1000 * table.batch / table.ms)
    assert (table.memory_mb >= 0).all()


def test_a_file_is_timed_as_it_is(rounded, images, tmp_path):
    export_onnx(rounded, tmp_path / "m.onnx")
    assert latency(tmp_path / "m.onnx", images, repeats=2).ms[0] > 0
    table = layer_latency(tmp_path / "m.onnx", images, repeats=2)
    assert list(table.index) == [*rounded.layers, "other"]
    with pytest.raises(InputError, match="does not run in torch"):
        latency(tmp_path / "m.onnx", images, "torch")


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_layers_are_timed_in_order(rounded, layers, precision):
    table = layers[precision]
    assert list(table.index) == [*rounded.layers, "other"]
    assert (table.ms >= 0).all()  # some take less than the clock can tell
    assert table.ms["grouped"] > 0


@pytest.fixture(scope="module")
def contexts(rounded, images) -> pd.DataFrame:
    return context_latency(rounded, images, 8, repeats=5)


def test_layers_are_a_budget_for_the_allocation(rounded, contexts):
    costs = layer_costs(contexts, bits=(4, 8, 32))
    limit = Limit("milliseconds", costs, np.inf)
    mixed = {name: 8 if name == "grouped" else 32 for name in rounded.layers}
    float32, int8 = contexts[("float32",) * 3], contexts[("int8",) * 3]
    expected = float32.drop(["grouped", "other"]).sum() + int8["grouped"]
    assert limit.cost(mixed) == pytest.approx(expected)
    assert costs["head"][4] == costs["head"][8]  # fewer bits are not faster
    assert predict_latency(contexts, dict.fromkeys(mixed, "int8")) == pytest.approx(int8.sum())


def test_a_layer_is_predicted_between_its_neighbours(rounded, contexts):
    """Every pattern of precisions finds its context of every layer, those at the ends included."""
    first, second = rounded.layers[:2]
    for own in itertools.product(("float32", "int8"), repeat=len(rounded.layers)):
        assert predict_latency(contexts, dict(zip(rounded.layers, own, strict=True))) > 0
    told = contexts.copy()
    told.loc[:] = 0.0
    told.loc[first, ("int8", "int8", "float32")] = 1.0  # the first has itself before it
    told.loc[second, ("int8", "float32", "float32")] = 10.0
    precisions = {name: "int8" if name == first else "float32" for name in rounded.layers}
    assert predict_latency(told, precisions) == 11.0


def test_4_bits_are_kept_for_the_file_or_for_time(graph, images, tmp_path):
    """The integers are the same; in 8 bits the file is larger."""
    weights = quantize(graph, 4, method="w-channel").variants
    inputs = quantize(graph, 8, method="wa-tensor", calibration=images).variants
    forms = {name: Variant(one.weight, inputs[name].input) for name, one in weights.items()}
    small = export_onnx(Quantized(graph, forms), tmp_path / "4.onnx")
    fast = export_onnx(Quantized(graph, forms), tmp_path / "8.onnx", int4=False)
    assert (set(small.dtypes.values()), set(fast.dtypes.values())) == ({"int4"}, {"int8"})
    assert small.nbytes < fast.nbytes
    got, expected = (run_onnx(one.path, images) for one in (fast, small))
    np.testing.assert_allclose(got, expected, atol=0.02 * expected.std())


def test_the_graph_for_torch_is_the_simulator(rounded, images):
    with torch.inference_mode():
        assert torch.equal(qdq_module(rounded)(images), rounded(images))


@pytest.mark.slow
@needs_vnni
def test_torchs_int8_kernels_compute_what_the_simulator_does(rounded, images):
    module = int8_module(rounded, images)
    names = [str(node.target) for node in module.graph.nodes if node.op == "call_function"]
    assert sum("qconv" in name or "qlinear" in name for name in names) == len(rounded.layers)
    with torch.inference_mode():
        expected = rounded(images)
        assert (module(images) - expected).abs().max() < 0.1 * expected.std()
    assert latency(rounded, images, "torch", 8, "int8", repeats=2).ms[0] > 0


def test_bf16_is_close(graph, images):
    float32 = Quantized(graph, {})
    with torch.inference_mode():
        got = bf16_module(float32, images)(images.bfloat16())
        assert got.dtype == torch.bfloat16
        assert (got.float() - float32(images)).abs().max() < 0.05 * float32(images).std()


@pytest.mark.parametrize(
    ("runtime", "precision", "says"),
    [
        ("tflite", "int8", "runtime 'tflite' is unknown"),
        ("torch", "fp8", "precision 'fp8' is unknown"),
        ("onnxruntime", "bf16", "no bf16 on the CPU"),
        ("onnxruntime", "int8", "do not have 8 bits"),
    ],
)
def test_what_cannot_be_measured_is_refused(graph, images, runtime, precision, says):
    with pytest.raises(InputError, match=says):
        latency(quantize(graph, 4), images, runtime, precision=precision)


def test_torch_takes_inputs_of_8_bits_alone(graph, images):
    with pytest.raises(InputError, match="layer 'first' has no symmetric weight with an input"):
        qdq_module(quantize(graph, 4, method="wa-tensor", calibration=images))
