"""Two runtimes and the simulator agree; what they are given is checked."""

import numpy as np
import pytest
import torch
from processor import needs_vnni

import ltqlib as ltq
from ltqlib import paths
from ltqlib.deploy import agreement, export_onnx, integer_biases, run_onnx
from ltqlib.errors import InputError
from ltqlib.quantization import quantize


def logits_of(quantized, images):
    with torch.inference_mode():
        return quantized(images).numpy()


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.parametrize(("method", "bits"), [("w-tensor", 4), ("w-channel", 8)])
def test_weight_only_models_predict_the_same_in_both(
    graph, images, labels, tmp_path, runtime, method, bits
):
    quantized = quantize(graph, bits, method=method)
    export_onnx(quantized, tmp_path / "m.onnx")
    got, expected = run_onnx(tmp_path / "m.onnx", images, runtime), logits_of(quantized, images)
    np.testing.assert_allclose(got, expected, atol=1e-4 * expected.std())
    assert agreement(got, expected, labels).loc["all", "agreement"] == 1


@needs_vnni
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_models_with_rounded_inputs_predict_the_same_in_integers(graph, images, tmp_path, runtime):
    quantized = quantize(graph, 8, method="wa-mse", calibration=images)
    export_onnx(quantized, tmp_path / "m.onnx")
    got = run_onnx(tmp_path / "m.onnx", images, runtime)
    expected = logits_of(integer_biases(quantized), images)
    assert np.abs(got - expected).max() < 0.1 * expected.std()
    assert np.median(np.abs(got - expected)) < 0.01 * expected.std()


def test_inputs_of_less_than_8_bits_are_computed_as_written(graph, images, tmp_path):
    quantized = quantize(graph, 4, method="wa-mse", calibration=images)
    export_onnx(quantized, tmp_path / "m.onnx")
    got, expected = run_onnx(tmp_path / "m.onnx", images), logits_of(quantized, images)
    assert (np.abs(got - expected).max(1) < 1e-4 * expected.std()).mean() > 0.9


def test_disagreements_are_counted_by_class():
    first = np.eye(3)[[0, 1, 2, 2]]
    second = np.eye(3)[[0, 2, 2, 0]]
    table = agreement(first, second, [0, 1, 1, 2], classes=["a", "b", "c"])
    assert table.disagreements.to_dict() == {"a": 0, "b": 1, "c": 1, "all": 2}
    assert table.images.to_dict() == {"a": 1, "b": 2, "c": 1, "all": 4}
    assert table.agreement.to_dict() == {"a": 1, "b": 0.5, "c": 0, "all": 0.5}


def test_images_come_in_both_orders(graph, images, tmp_path):
    export_onnx(quantize(graph, 8), tmp_path / "m.onnx")
    last = run_onnx(tmp_path / "m.onnx", images.permute(0, 2, 3, 1).numpy(), batch=7)
    np.testing.assert_allclose(last, run_onnx(tmp_path / "m.onnx", images), atol=1e-6)
    with pytest.raises(InputError, match=r"images have shape \(3, 9, 9\)"):
        run_onnx(tmp_path / "m.onnx", images[:, :, :9, :9])


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_files_that_are_none_are_refused_in_one_line(graph, images, tmp_path, runtime):
    path = tmp_path / "m.onnx"
    with pytest.raises(InputError, match=r"m\.onnx is missing"):
        run_onnx(path, images, runtime)
    export_onnx(quantize(graph, 8), path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="cannot be loaded") as refused:
        run_onnx(path, images, runtime)
    assert "\n" not in str(refused.value)
    with pytest.raises(InputError, match="runtime 'tflite' is unknown"):
        run_onnx(path, images, "tflite")


@pytest.mark.slow
@needs_vnni
def test_the_network_of_the_book_predicts_the_same_in_both_runtimes(tmp_path):
    """2,000 test images; all 10,000 are in benchmarks/agreement.json."""
    if not list(paths.data().glob("cifar-10*")):
        pytest.skip("the images are not here, and a test does not download them")
    data = ltq.load_data("cifar10", imbalance_factor=0.01)
    graph = next(iter(ltq.train(data))).graph()
    test, calibration = data.test.images[::5], data.images[::25]
    pixels, labels = graph.pixels(test), data.test.labels[::5]
    for method, bits, least in [("w-tensor", 4, 1), ("w-channel", 8, 1), ("wa-mse", 8, 0.995)]:
        quantized = quantize(graph, bits, method=method, calibration=calibration)
        export_onnx(quantized, tmp_path / "m.onnx")
        expected = logits_of(quantized, pixels)
        for how in ({"runtime": "openvino"}, {"integer": False}, {}):
            got = run_onnx(tmp_path / "m.onnx", test, **how)
            share = agreement(got, expected, labels).agreement["all"]
            assert share >= (least if how else least - 0.005), (method, how)  # biases as integers
    exact = logits_of(integer_biases(quantized), pixels)
    assert agreement(got, exact, labels).agreement["all"] >= 0.999
