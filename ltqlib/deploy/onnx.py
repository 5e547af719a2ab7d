"""A quantized model as ONNX, its grids as QuantizeLinear and DequantizeLinear.

* Weights are integers behind DequantizeLinear: int4 or uint4 up to 4 bits, int8 or uint8 above, one
  scale a tensor or one an output channel. What has 5 to 7 bits uses the inner part of eight, so a
  width below 8 changes the size of the file (below 5) but no runtime computes faster for it. Beside
  inputs of 8 bits, 4-bit integers are even slower than 8-bit ones: the runtimes' integer kernels do
  not take them. ``int4=False`` keeps all in 8 bits.
* A layer's input passes QuantizeLinear and DequantizeLinear (uint8 where its grid is asymmetric).
  These saturate at the ends of eight bits; a narrower grid is cut by a Clip before them, and the
  layer then computes in float32.
* Biases have their corrections (and folded offsets) added and stay float32.

The translation of torch's operators is one table, :mod:`ltqlib.deploy.operators`.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from ltqlib.deploy.operators import FOLLOWS, TABLE
from ltqlib.deploy.writer import Writer, onnx_type
from ltqlib.errors import InputError
from ltqlib.files import write_whole
from ltqlib.quantization import Quantized

OPSET = 21  # the first with 4-bit integers


@dataclass(frozen=True)
class Exported:
    """An ONNX file: where it is, its bytes, and what the weights of quantized layers are there."""

    path: Path
    nbytes: int
    opset: int
    dtypes: dict[str, str]  # layer -> int4 | uint4 | int8 | uint8


def export_onnx(
    quantized: Quantized, path: Path | str, *, opset: int = OPSET, int4: bool = True
) -> Exported:
    """Write a model as ONNX, for any number of images; whole or not at all.

    Input ``images`` is what the graph takes, (N, ...); output ``logits`` is (N, classes) float32.
    Nodes are named ``LAYER/Operator``, activations and sums after the layer that they follow.
    ``Quantized(graph, {})`` exports the float model.

    Args:
        quantized: any quantized model, of uniform or mixed widths.
        path: the file to write.
        opset: 21 or later.
        int4: keep weights of 4 bits and fewer as 4-bit integers, for the smaller file; without it,
            as 8-bit integers, for time where layers' inputs are quantized as well.

    Raises:
        InputError: an operator that the table lacks, an opset before 21, a disk that is full.
    """
    import onnx
    from onnx import helper

    if opset < OPSET:
        raise InputError(f"opset {opset} has no 4-bit integers: use {OPSET} or later")
    writer = Writer(quantized, int4)
    example = writer.graph.example
    taken = helper.make_tensor_value_info(
        "images", onnx_type(example.dtype), ["N", *example.shape[1:]]
    )
    given = helper.make_tensor_value_info(
        "logits", onnx.TensorProto.FLOAT, ["N", writer.graph.classes]
    )
    writer.write(TABLE, FOLLOWS)
    graph = helper.make_graph(
        writer.nodes, "ltqlib", [taken], [given], list(writer.initializers.values())
    )
    opsets = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=opsets, producer_name="ltqlib")
    model.ir_version = helper.find_min_ir_version_for(opsets)
    bits = json.dumps(quantized.bit_config)
    helper.set_model_props(model, {"method": quantized.method, "bit_config": bits})
    onnx.checker.check_model(model, full_check=True)
    content = model.SerializeToString()
    write_whole(Path(path), content)
    return Exported(Path(path), len(content), opset, writer.dtypes)
