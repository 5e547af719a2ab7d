"""Exported models compute what the simulator does, whatever their operators and widths."""

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from torchvision import models as torchvision_models

from ltqlib.deploy import export_onnx, fold_offsets, integer_biases, run_onnx
from ltqlib.errors import InputError
from ltqlib.models.graph import Graph, graph_of
from ltqlib.models.networks import resnet32, vgg16
from ltqlib.quantization import QTensor, Quantized, Variant, choose_qparams, quantize


def assert_same(quantized, images, path, flips=0.0, **how):
    """Logits of the runtime are the simulator's, but for a share of images in which the
    rounding of an input is another, since sums have another order."""
    exported = export_onnx(quantized, path)
    got = run_onnx(path, images, **how)
    with torch.inference_mode():
        expected = quantized(images).numpy()
    far = np.abs(got - expected).max(1) > 1e-4 * expected.std()
    assert far.mean() <= flips
    return exported


class Operators(nn.Module):
    """What the other networks here do not have."""

    def __init__(self) -> None:
        super().__init__()
        self.same = nn.Conv2d(3, 8, 3, padding="same", bias=False)
        self.transposed = nn.ConvTranspose2d(8, 6, 3, stride=2, padding=1, output_padding=1)
        self.product = nn.Parameter(torch.randn(6, 6))
        self.norm, self.line = nn.LayerNorm(6), nn.Conv1d(4, 4, 3, padding=1)
        self.linear = nn.Linear(6, 4)

    def forward(self, x):
        x = nn.functional.hardswish(self.same(x))
        x = nn.functional.avg_pool2d(self.transposed(x), 3, 2, 1, ceil_mode=True)
        x = nn.functional.pad(x, (1, 0, 2, 1), mode="reflect")
        x = x.flatten(2).transpose(1, 2) @ self.product
        x = self.linear(self.norm(x)).transpose(1, 2)
        x = nn.functional.hardsigmoid(self.line(x).clamp(min=-1)) - 0.5
        return torch.cat([x.mean(2), x[:, 1:, 3]], 1)


@pytest.mark.parametrize(
    ("method", "bits", "dtype"),
    [("w-tensor", 8, "int8"), ("w-channel", 5, "int8"), ("w-channel", 3, "int4")],
)
def test_weights_are_exact_at_every_width(graph, images, tmp_path, method, bits, dtype):
    quantized = quantize(graph, bits, method=method)
    exported = assert_same(quantized, images, tmp_path / "m.onnx")
    assert set(exported.dtypes.values()) == {dtype}
    assert exported.nbytes == (tmp_path / "m.onnx").stat().st_size


def test_mixed_widths_with_corrections_and_offsets(corrected, images, tmp_path):
    exported = assert_same(corrected, images, tmp_path / "m.onnx")
    assert exported.dtypes == {
        "first": "int4", "grouped": "int8", "depthwise": "int4", "head": "int8",
    }  # fmt: skip
    before = run_onnx(tmp_path / "m.onnx", images)
    assert_same(fold_offsets(corrected, np.arange(5)), images, tmp_path / "m.onnx")
    after = run_onnx(tmp_path / "m.onnx", images)
    np.testing.assert_allclose(after - before, np.tile(np.arange(5), (64, 1)), atol=1e-5)


@pytest.mark.parametrize("bits", [8, 4, 2])
@pytest.mark.parametrize("method", ["wa-tensor", "wa-mse"])
def test_inputs_are_cut_and_rounded_on_their_grids(graph, images, tmp_path, method, bits):
    """wa-mse clips: values beyond the grid are there."""
    quantized = quantize(graph, bits, method=method, calibration=images[:32])
    assert_same(quantized, images, tmp_path / "m.onnx", flips=0.1, integer=False)
    nodes = [node.op_type for node in onnx.load(tmp_path / "m.onnx").graph.node]
    assert nodes.count("QuantizeLinear") == 5
    assert nodes.count("Clip") == (5 if bits < 8 else 0)


def test_asymmetric_weights_and_symmetric_inputs(graph, images, tmp_path):
    variants = {}
    for bits, name in zip((8, 4, 3, 6, 2), graph.layers, strict=True):
        weight = graph.weight(name)
        low, high = weight.flatten(1).aminmax(dim=1)
        weights = QTensor.quantize(weight, choose_qparams(low, high, bits, False))
        x = torch.tensor(2.0)
        variants[name] = Variant(weights, choose_qparams(-x, x, 8, True))
    quantized = Quantized(graph, variants)
    exported = assert_same(quantized, images, tmp_path / "m.onnx", flips=0.1, integer=False)
    assert list(exported.dtypes.values()) == ["uint8", "uint4", "uint4", "uint8", "uint4"]


def test_operators_that_other_networks_lack(tmp_path):
    torch.manual_seed(0)
    images = torch.rand(5, 3, 9, 9)
    graph = Graph.trace(Operators(), images[:2])
    assert_same(Quantized(graph, {}), images, tmp_path / "m.onnx")
    assert_same(quantize(graph, 8, method="w-channel"), images, tmp_path / "m.onnx")
    assert_same(quantize(graph, 4), images, tmp_path / "m.onnx")


@pytest.mark.parametrize("build", [vgg16, resnet32], ids=["VGG16", "ResNet-32"])
def test_networks_of_the_book_take_pixels(tmp_path, build):
    graph = graph_of(build(0.25, 10))
    images = torch.randint(0, 256, (7, 3, 32, 32), dtype=torch.uint8)
    assert_same(quantize(graph, 4), images, tmp_path / "m.onnx")
    one = run_onnx(tmp_path / "m.onnx", images.permute(0, 2, 3, 1).numpy()[:1])
    with torch.inference_mode():
        np.testing.assert_allclose(one, quantize(graph, 4)(images[:1]), atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("resnet18", 64), ("mobilenet_v2", 64), ("efficientnet_b0", 64), ("convnext_tiny", 64),
        ("vit_b_16", 32),
    ],
)  # fmt: skip
def test_networks_of_torchvision(tmp_path, name, side):
    torch.manual_seed(0)
    more = {"image_size": side} if name == "vit_b_16" else {}
    module = getattr(torchvision_models, name)(num_classes=7, **more)
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_normal_(part.weight)  # ViT starts with a head of zeros
    images = torch.rand(6, 3, side, side)
    graph = Graph.trace(module, images[:2])
    assert_same(quantize(graph, 8, method="w-channel"), images, tmp_path / "m.onnx")
    assert_same(quantize(graph, 4), images, tmp_path / "m.onnx")
    rounded = quantize(graph, 8, method="wa-percentile", calibration=images)
    export_onnx(rounded, tmp_path / "m.onnx")
    got = run_onnx(tmp_path / "m.onnx", images, integer=False)
    with torch.inference_mode():
        expected = rounded(images).numpy()
    assert np.abs(got - expected).max() < 0.2 * expected.std()


def test_the_file_says_what_is_in_it(graph, tmp_path):
    export_onnx(quantize(graph, {"first": 4, "head": 8}), tmp_path / "m.onnx")
    model = onnx.load(tmp_path / "m.onnx")
    told = {entry.key: entry.value for entry in model.metadata_props}
    assert told["method"] == "w-tensor"
    assert told["bit_config"].startswith('{"first": [4, null], "grouped": [null, null]')
    assert {"first/Conv", "head/Gemm"} <= {node.name for node in model.graph.node}
    assert model.opset_import[0].version == 21


def test_an_operator_that_is_missing_is_named_in_one_line(tmp_path):
    class Sorted(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(4, 3)

        def forward(self, x):
            return self.head(torch.cumsum(x, 1))

    graph = Graph.trace(Sorted(), torch.rand(2, 4))
    with pytest.raises(InputError, match=r"aten\.cumsum.*cannot be exported to ONNX") as refused:
        export_onnx(Quantized(graph, {}), tmp_path / "m.onnx")
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_an_opset_without_4_bit_integers_is_refused(graph, tmp_path):
    with pytest.raises(InputError, match="opset 17"):
        export_onnx(Quantized(graph, {}), tmp_path / "m.onnx", opset=17)


def test_integer_biases_are_multiples_of_input_scale_times_weight_scale(graph, images):
    quantized = quantize(graph, 8, method="wa-mse", calibration=images)
    rounded = integer_biases(quantized)
    for name, variant in quantized.variants.items():
        site = graph.layers[name].sites[0]
        if graph.bias(name) is not None:
            step = variant.weight.qparams.scale * variant.input.scale
            steps = (graph.bias(name) + rounded.biases[site]) / step
            torch.testing.assert_close(steps, steps.round(), rtol=0, atol=0.01)
            assert (rounded.biases[site].abs() <= 0.51 * step).all()
