"""A classifier in ONNX form as a torch module, by the package onnx2torch.

onnx2torch knows operators up to the versions of opset 16 or so, and takes weights from the file's
constants alone. So constants behind ``Identity`` and ``Constant`` nodes (which torch's exporter
writes) are put in their place first, and an operator of a later version is converted as the newest
one that is known: later versions mostly take more types. What comes out must predict what ONNX
Runtime does, or it is refused.
"""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ltqlib.data.names import shown
from ltqlib.errors import InputError

KINDS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
REDUCE = ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceL2")
CLOSE = 1e-3  # of the largest logit: what two orders of float32 sums may differ


def from_onnx(path: Path | str, side: int | None = None) -> nn.Module:
    """The torch module of a float classifier, which takes what the file takes, (B, 3, H, W).

    Args:
        path: the file; weights in files beside it (external data) are read as well.
        side: pixels of the images that will come, checked where the file says a size.

    Raises:
        InputError: no model, a quantized one, several inputs or outputs, images of another shape,
            an operator that cannot be converted, or other predictions than ONNX Runtime's.
    """
    model = _read(Path(path))
    taken = side_of(path, model)
    if side is not None and taken not in (None, side):
        raise InputError(f"{shown(path)} takes images of {taken} pixels, not {side}: resize them")
    _inline_constants(model)
    names = _prepare_nodes(model)
    _newest_converters(model)
    from onnx2torch import convert  # type: ignore[import-untyped]

    try:
        module = convert(model).eval()
        _fix_shapes(module, model)
        _name_modules(module, names)
        _check(module, Path(path), taken or side)
    except InputError:
        raise
    except Exception as error:  # NotImplementedError, and what odd models lead to
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{shown(path)} cannot be converted by onnx2torch: {reason}") from error
    type(module).__name__ = shown(Path(path).name)  # a class of its own: what messages call it
    return module


def side_of(path: Path | str, model: Any = None) -> int | None:
    """Pixels of a side that a file takes; None where it takes any.

    Raises:
        InputError: it takes something else than one batch of images (B, 3, H, W).
    """
    model = model or _read(Path(path))
    constants = {one.name for one in model.graph.initializer}
    inputs = [one for one in model.graph.input if one.name not in constants]
    if len(inputs) != 1 or len(model.graph.output) != 1:
        raise InputError(
            f"{shown(path)} has {len(inputs)} inputs and {len(model.graph.output)} outputs: give a "
            "classifier of one batch of images that returns logits alone"
        )
    tensor = inputs[0].type.tensor_type
    sizes = [one.dim_value for one in tensor.shape.dim]
    if len(sizes) != 4 or sizes[1] not in (0, 3) or (sizes[2] != sizes[3] and all(sizes[2:])):
        raise InputError(f"{shown(path)} takes inputs of shape {sizes}, not (B, 3, side, side)")
    return sizes[2] or sizes[3] or None


def _read(path: Path) -> Any:
    try:
        import onnx
        import onnx2torch  # noqa: F401
        import onnxruntime  # type: ignore[import-untyped]  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"{shown(path)} needs {error.name}, which is not installed: install ltqlib[deploy]"
        ) from error
    if not path.is_file():
        raise InputError(f"{shown(path)} is missing")
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf's, the checker's, files of external data
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(f"{shown(path)} is no ONNX model that can be read: {reason}") from error
    if any("Quant" in one.op_type or "quant" in one.op_type for one in model.graph.node):
        raise InputError(f"{shown(path)} is quantized already: give the float model")
    return model


def _inline_constants(model: Any) -> None:
    """``Identity`` of a constant, and ``Constant`` nodes, as constants of the graph."""
    graph, same, kept = model.graph, dict[str, str](), []
    constants = {one.name for one in graph.initializer}
    for node in graph.node:
        for at, name in enumerate(node.input):
            node.input[at] = same.get(name, name)
        if node.op_type == "Identity" and node.input[0] in constants:
            same[node.output[0]] = node.input[0]
        elif node.op_type == "Constant" and node.attribute[0].name == "value":
            graph.initializer.add().CopyFrom(node.attribute[0].t)
            graph.initializer[-1].name = node.output[0]
            constants.add(node.output[0])
        else:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)


def _prepare_nodes(model: Any) -> dict[str, str]:
    """Nodes as onnx2torch takes them, numbered; what layers are to be called (torch's paths)."""
    from onnx import helper, numpy_helper

    names, held = dict[str, str](), {one.name: one for one in model.graph.initializer}
    for number, node in enumerate(model.graph.node):
        if node.op_type in KINDS:
            *path, _ = node.name.strip("/").split("/") if "/" in node.name else [node.name, ""]
            nested = zip(path, [*path[1:], ""], strict=True)  # layer1/layer1.0/conv1
            name = ".".join(part for part, inner in nested if not inner.startswith(f"{part}."))
            weight = node.input[1]
            name = weight.removesuffix(".weight") if weight.endswith(".weight") else name
            names[f"node{number}"] = name or f"{node.op_type.lower()}{number}"
        node.name = f"node{number}"
        if node.op_type == "Reshape":  # allowzero is about empty tensors; torch writes it
            kept = [one for one in node.attribute if one.name != "allowzero"]
            del node.attribute[:]
            node.attribute.extend(kept)
        if node.op_type in REDUCE and len(node.input) == 2 and node.input[1] in held:
            axes = numpy_helper.to_array(held[node.input.pop()]).tolist()
            node.attribute.append(helper.make_attribute("axes", axes))  # as before opset 18
    return names


def _name_modules(module: Any, names: dict[str, str]) -> None:
    """Layers under their names, each once."""
    taken = set[str]()
    for node in module.graph.nodes:
        if node.op == "call_module" and (name := names.get(node.target)):
            while name in taken:
                name += "_"
            taken.add(name)
            if module.add_submodule(name, module.get_submodule(node.target)):
                node.target = name
    module.delete_all_unused_submodules()
    module.recompile()


class _Reshape(nn.Module):
    """To sizes that are known; 0 keeps a size of the input."""

    def __init__(self, sizes: list[int]) -> None:
        super().__init__()
        self.sizes = sizes

    def forward(self, x: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        """``x``, reshaped; the second argument is the constant that holds the sizes."""
        return x.reshape([size or x.shape[at] for at, size in enumerate(self.sizes)])


def _fix_shapes(module: Any, model: Any) -> None:
    """Reshapes to a constant, as torch.export takes them, and for any number of images."""
    from onnx import numpy_helper

    held = {one.name: one for one in model.graph.initializer}
    batch = model.graph.input[0].type.tensor_type.shape.dim[0].dim_value
    for node in model.graph.node:
        if node.op_type == "Reshape" and node.input[1] in held:
            sizes = numpy_helper.to_array(held[node.input[1]]).tolist()
            if batch and sizes[0] == batch:  # exported for so many images
                sizes[0] = 0 if -1 in sizes else -1
            setattr(module, node.name, _Reshape(sizes))


def _newest_converters(model: Any) -> None:
    """Registers the newest known converter for the versions that the model has."""
    from onnx import defs
    from onnx2torch.node_converters.registry import (  # type: ignore[import-untyped]
        add_converter,
        get_converter,
    )

    opsets = {one.domain: one.version for one in model.opset_import}
    for kind, domain in {(node.op_type, node.domain) for node in model.graph.node}:
        try:
            since = defs.get_schema(kind, opsets[domain], domain).since_version
        except (defs.SchemaError, KeyError):
            continue  # the conversion says what is unknown
        for version in range(since, 0, -1):
            try:
                found = get_converter(kind, version, domain)
            except NotImplementedError:
                continue
            if version < since:
                add_converter(kind, since, domain)(found)
            break
        else:
            if (kind, domain) == ("Gelu", ""):
                add_converter(kind, since)(_gelu)


def _gelu(node: Any, graph: Any) -> Any:
    from onnx2torch.utils.common import (  # type: ignore[import-untyped]
        OperationConverterResult,
        onnx_mapping_from_node,
    )

    module = nn.GELU(approximate=node.attributes.get("approximate", "none"))
    return OperationConverterResult(module, onnx_mapping_from_node(node))


def _check(module: nn.Module, path: Path, side: int | None) -> None:
    """Refuse a module that predicts something else than ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0]
    dtype = {"tensor(float)": torch.float32, "tensor(uint8)": torch.uint8}.get(given.type)
    if dtype is None:
        raise InputError(f"{shown(path)} takes {given.type}: give a model of float32 or uint8")
    batch = given.shape[0] if isinstance(given.shape[0], int) else 1
    generator = torch.Generator().manual_seed(0)
    images = 255 * torch.rand(3 * batch, 3, side or 64, side or 64, generator=generator)
    images = images.to(dtype) if dtype == torch.uint8 else images / 128 - 1
    runs = [session.run(None, {given.name: part.numpy()})[0] for part in images.split(batch)]
    expected = np.concatenate(runs)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the converters' own code
        found = module(images).numpy()
    if found.shape != expected.shape or found.ndim != 2:
        raise InputError(f"{shown(path)} returns {list(expected.shape)}, not (images, classes)")
    distance = float(np.abs(found - expected).max() / max(1e-9, np.abs(expected).max()))
    if not distance <= CLOSE:
        raise InputError(
            f"{shown(path)} means something else in torch: its logits are off by {distance:.2g} of "
            "the largest from ONNX Runtime's"
        )
