"""A classifier in ONNX form: predictions are ONNX Runtime's; what cannot be audited is one line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from audit_cases import COUNTS, graph, net, pictures, split
from onnx import TensorProto, helper, numpy_helper

from ltqlib.cli import main
from ltqlib.deploy import export_onnx
from ltqlib.deploy.audit import audit
from ltqlib.deploy.from_onnx import from_onnx, side_of
from ltqlib.errors import InputError
from ltqlib.models import Graph
from ltqlib.quantization import Quantized, quantize

KEY = "image of any name"
RELU = helper.make_node("Relu", ["c"], ["r"])


def model(
    middle: Any = (RELU,), *, batch: Any = "N", opset: int = 21, side: Any = 16, dtype: int = 1
) -> onnx.ModelProto:
    """A convolution with weights behind an Identity, ``middle`` from ``c`` to ``r``, a product."""
    random = np.random.default_rng(0)
    weights = {
        "w": random.normal(size=(8, 3, 3, 3)),
        "v": random.normal(size=(8, 6)),
        "b": random.normal(size=6),
    }
    nodes = [
        helper.make_node("Identity", ["w"], ["same"]),
        helper.make_node("Conv", [KEY, "same"], ["c"], "/body/body.0/Conv", pads=[1] * 4),
        *middle,
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "v", "b"], ["out"], "/last/Gemm"),
    ]
    held = [numpy_helper.from_array(v.astype(np.float32), k) for k, v in weights.items()]
    made = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(KEY, dtype, [batch, 3, side, side])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [batch, 6])],
        held,
    )
    opsets = [helper.make_opsetid("", opset)]
    ir = helper.find_min_ir_version_for(opsets)
    return helper.make_model(made, opset_imports=opsets, ir_version=ir)


def written(folder: Path, made: onnx.ModelProto) -> Path:
    """In a file."""
    onnx.save(made, folder / "net.onnx")
    return folder / "net.onnx"


GELU = (helper.make_node("Gelu", ["c"], ["r"], approximate="tanh"),)


def _sizes(name: str, *values: int) -> onnx.NodeProto:
    held = numpy_helper.from_array(np.array(values))
    return helper.make_node("Constant", [], [name], value=held)


CENTRED = (
    _sizes("axes", 2, 3),
    helper.make_node("ReduceMean", ["c", "axes"], ["mean"], keepdims=1),
    helper.make_node("Sub", ["c", "mean"], ["around"]),
    helper.make_node("Relu", ["around"], ["r"]),
)
RESHAPED = (  # as exporters write it for one image
    _sizes("sizes", 1, 8, -1),
    _sizes("back", 1, 8, 16, 16),
    helper.make_node("Reshape", ["c", "sizes"], ["flat"], allowzero=1),
    helper.make_node("Reshape", ["flat", "back"], ["r"]),
)
CUT = (helper.make_node("HardSwish", ["c"], ["r"]),)


@pytest.mark.parametrize(
    "case",
    [
        {},
        {"opset": 13},
        {"opset": 17, "batch": 1},
        {"middle": GELU},
        {"middle": CENTRED},
        {"middle": RESHAPED, "batch": 1},
        {"middle": CUT, "side": None},
    ],
    ids=["as it is", "opset 13", "one image", "gelu", "mean", "reshaped", "any size"],
)
def test_predictions_are_those_of_onnx_runtime(case: dict[str, Any], tmp_path: Path) -> None:
    path = written(tmp_path, model(**case))
    images = np.random.default_rng(1).normal(size=(5, 3, 16, 16)).astype(np.float32)
    session = onnxruntime.InferenceSession(path)
    one = [images[k : k + 1] for k in range(5)]
    expected = np.concatenate([session.run(None, {KEY: image})[0] for image in one])
    module = from_onnx(path, 16)
    with torch.no_grad():
        found = module(torch.from_numpy(images)).numpy()
    Graph.trace(module, torch.from_numpy(images))
    assert np.allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert (found.argmax(1) == expected.argmax(1)).all()
    assert side_of(path) == case.get("side", 16)
    assert {"body.0", "last"} <= {name for name, _ in module.named_modules()}


def test_the_audit_is_that_of_the_torch_model(tmp_path: Path) -> None:
    path = export_onnx(Quantized(graph(), {}), tmp_path / "net.onnx").path
    given = (pictures(COUNTS, 1), split(), (4,))
    mine = audit(str(path), *given, methods=())
    theirs = audit(net(), *given, methods=())
    assert mine.about["model"] == "net.onnx"
    assert mine.bit_config == theirs.bit_config
    assert (mine.outcomes["predicted"] == theirs.outcomes["predicted"]).all()


def _with_two_inputs(made: onnx.ModelProto) -> None:
    made.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1]))


def _channels_last(made: onnx.ModelProto) -> None:
    taken = made.graph.input[0].type.tensor_type.shape.dim
    taken[1].dim_value, taken[3].dim_value = 16, 3


UNKNOWN = (helper.make_node("Mish", ["c"], ["r"]),)


@pytest.mark.parametrize(
    ("made", "change", "says"),
    [
        (model(), _with_two_inputs, "has 2 inputs and 1 outputs"),
        (model(), _channels_last, "not (B, 3, side, side)"),
        (model(UNKNOWN), None, "cannot be converted by onnx2torch"),
        (model(side=32), None, "takes images of 32 pixels, not 16: resize them"),
        (model(dtype=TensorProto.DOUBLE), None, "net.onnx"),
    ],
    ids=["inputs", "channels last", "operator", "side", "dtype"],
)
def test_one_line_on_what_is_refused(
    made: onnx.ModelProto, change: Callable[[Any], None] | None, says: str, tmp_path: Path
) -> None:
    if change:
        made = onnx.ModelProto.FromString(made.SerializeToString())
        change(made)
    path = tmp_path / "net.onnx"
    path.write_bytes(made.SerializeToString())
    with pytest.raises(InputError) as raised:
        from_onnx(path, 16)
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


NUMBERED = (  # counts the images, as torch's newer exporter does for ConvNeXt
    helper.make_node("Shape", ["c"], ["shape"], start=0, end=1),
    helper.make_node("Squeeze", ["shape"], ["many"]),
    helper.make_node("Constant", [], ["zero"], value=numpy_helper.from_array(np.array(0))),
    helper.make_node("Constant", [], ["one"], value=numpy_helper.from_array(np.array(1))),
    helper.make_node("Range", ["zero", "many", "one"], ["numbers"]),
    helper.make_node("Gather", ["c", "numbers"], ["r"]),
)


def test_what_torch_cannot_export_is_refused_under_the_name_of_the_file(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, model(middle=NUMBERED))
    with pytest.raises(InputError, match=r"^net.onnx cannot be traced .* give the torch module"):
        audit(str(path), pictures(COUNTS, 1), split(), (4,), methods=())
    assert capfd.readouterr().err == ""


def test_external_data_are_read_where_they_are_there(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    onnx.save(model(), path, save_as_external_data=True, location="net.data", size_threshold=0)
    from_onnx(path, 16)
    (tmp_path / "net.data").unlink()
    with pytest.raises(InputError, match="is no ONNX model that can be read") as raised:
        from_onnx(path, 16)
    assert "\n" not in str(raised.value)


def test_a_quantized_model_is_refused(tmp_path: Path) -> None:
    path = export_onnx(quantize(graph(), 8, method="w-channel"), tmp_path / "q.onnx").path
    with pytest.raises(InputError, match="is quantized already: give the float model"):
        from_onnx(path, 16)


def test_a_text_file_is_no_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.onnx").write_text("no model")
    path = str(tmp_path / "a.onnx")
    assert main(["audit", "--model", path, "--data", "folder:nowhere"]) == 2
    assert "is no ONNX model" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "efficientnet_b0", "convnext_tiny"])
def test_networks_of_torchvision(name: str, tmp_path: Path) -> None:
    """Exported by this library: torch's own exporter is one more package."""
    from torchvision import models

    torch.manual_seed(0)
    pixels = torch.rand(4, 3, 64, 64)
    traced = Graph.trace(models.get_model(name, num_classes=10), pixels)
    path = export_onnx(Quantized(traced, {}), tmp_path / "net.onnx").path
    again = Graph.trace(from_onnx(path, 64), pixels)
    assert list(again.layers) == list(traced.layers)
    assert torch.allclose(again.logits(pixels), traced.logits(pixels), rtol=1e-3, atol=1e-5)
