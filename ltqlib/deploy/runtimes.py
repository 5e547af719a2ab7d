"""Exported models in ONNX Runtime and OpenVINO on the CPU, and whether they predict the same.

What is set, and why (both runtimes would otherwise compute another function):

* ONNX Runtime dequantizes weights at every call; a model that quantizes no inputs is loaded with
  ``session.disable_quant_qdq``, so that its weights become float32 once.
* ONNX Runtime computes layers with quantized inputs in integers, and keeps their biases as int32 on
  the grid ``input scale * weight scale``. This alone changes a few predictions in a thousand;
  :func:`ltqlib.deploy.integer_biases` gives the simulator that has it, and ``integer=False``
  computes the grids as they are written, in float32. Inputs of less than 8 bits are always computed
  so: their Clip keeps the layers out of its integer kernels, but biases would be rounded still, on
  grids so coarse that 3 % of the predictions at 6 bits change.
* OpenVINO computes in bfloat16 where the chip has it: ``INFERENCE_PRECISION_HINT`` is f32. It
  rounds inputs of linear layers that have 8-bit weights: ``DYNAMIC_QUANTIZATION_GROUP_SIZE`` is 0.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ltqlib.errors import InputError

RUNTIMES = ("onnxruntime", "openvino")
Array = npt.NDArray[Any]
Run = Callable[[Array], Array]  # images as the model takes them -> logits


def run_onnx(
    path: Path | str,
    images: Any,
    runtime: str = "onnxruntime",
    threads: int = 1,
    *,
    integer: bool = True,
    batch: int = 250,
) -> npt.NDArray[np.float32]:
    """Logits (N, C) of an exported model.

    Args:
        path: what :func:`ltqlib.deploy.export_onnx` wrote.
        images: uint8 (N, H, W, C) from NumPy, or (N, ...) as the model takes them.
        runtime: ``onnxruntime`` or ``openvino``, on the CPU.
        threads: how many compute.
        integer: False computes quantized inputs in float32 arithmetic (ONNX Runtime alone).
        batch: images that are computed together.

    Raises:
        InputError: an unknown or missing runtime, a file that is none, images of another shape.
    """
    run, shape, dtype = load_onnx(path, runtime, threads, integer=integer)
    pixels = inputs(images, shape, dtype)
    return np.concatenate([run(pixels[i : i + batch]) for i in range(0, len(pixels), batch)])


def load_onnx(
    path: Path | str,
    runtime: str = "onnxruntime",
    threads: int = 1,
    *,
    integer: bool = True,
    precision: str = "f32",
    profile: Path | None = None,
) -> tuple[Run, tuple[int, ...], np.dtype[Any]]:
    """A model ready to run, with the shape of an image and the dtype that it takes.

    Args:
        path, runtime, threads, integer: as for :func:`run_onnx`.
        precision: ``f32`` or ``bf16``, in which OpenVINO computes what is not quantized.
        profile: where ONNX Runtime writes its profile when ``run`` is deleted; None for none.

    Raises:
        InputError: as for :func:`run_onnx`.
    """
    if runtime not in RUNTIMES:
        raise InputError(f"runtime {runtime!r} is unknown: use one of {', '.join(RUNTIMES)}")
    if not Path(path).is_file():
        raise InputError(f"{path} is missing: export the model first")
    try:
        import onnx

        model = onnx.load(path)
        onnx.checker.check_model(model)
        run = (
            _onnxruntime(model, threads, integer, profile)
            if runtime == "onnxruntime"
            else _openvino(path, threads, precision)
        )
    except ImportError as error:
        raise InputError(f"{runtime} is not installed: install ltqlib[deploy]") from error
    except Exception as error:  # protobuf, the checker and both runtimes have their own
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(f"{path} cannot be loaded by {runtime}: {reason}") from error
    taken = model.graph.input[0].type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(taken.elem_type)
    return run, tuple(d.dim_value for d in taken.shape.dim[1:]), dtype


def inputs(images: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Images (N, \\*shape) in the model's dtype, from (N, H, W, C) or as they are.

    Raises:
        InputError: images of another shape.
    """
    array = np.asarray(images)
    if isinstance(images, np.ndarray) and array.ndim == 4 and array.shape[1:] != shape:
        array = np.moveaxis(array, -1, 1)
    if array.shape[1:] != shape:
        raise InputError(
            f"images have shape {tuple(np.shape(images)[1:])}, the model takes {shape}: resize them"
        )
    return np.ascontiguousarray(array, dtype)


def agreement(
    logits_a: Any, logits_b: Any, labels: Any, classes: Sequence[str] | None = None
) -> pd.DataFrame:
    """How many images two models call the same, by true class and (last row, ``all``) together.

    Args:
        logits_a, logits_b: (N, C).
        labels: (N,), true classes.
        classes: names of the C classes; left out, their numbers.

    Returns:
        ``images``, ``disagreements`` and ``agreement`` (a share), one row a class.

    Raises:
        InputError: logits of different shapes, or not one label an image.
    """
    a, b, labels = np.asarray(logits_a), np.asarray(logits_b), np.asarray(labels)
    if a.shape != b.shape or a.ndim != 2 or labels.shape != a.shape[:1]:
        raise InputError(
            f"logits of shapes {a.shape} and {b.shape} with labels {labels.shape}: give (N, C) "
            "twice and (N,)"
        )
    names = list(range(a.shape[1])) if classes is None else list(classes)
    differ = a.argmax(1) != b.argmax(1)
    table = pd.DataFrame(
        {
            "images": np.bincount(labels, minlength=len(names)),
            "disagreements": np.bincount(labels[differ], minlength=len(names)),
        },
        pd.Index(names, name="class", dtype=object),
    )
    table.loc["all"] = table.sum()
    return table.assign(agreement=1 - table.disagreements / table.images)


def _onnxruntime(model: Any, threads: int, integer: bool, profile: Path | None) -> Run:
    import onnxruntime  # type: ignore[import-untyped]

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3  # errors alone
    if not (integer and _in_8_bits(model)):
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    if profile is not None:
        options.enable_profiling, options.profile_file_prefix = True, str(profile)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda images: session.run(None, {"images": images})[0]


def _in_8_bits(model: Any) -> bool:
    """Whether a model rounds inputs, and none to less than 8 bits."""
    rounds = any(node.op_type == "QuantizeLinear" for node in model.graph.node)
    told = {entry.key: entry.value for entry in model.metadata_props}
    widths = json.loads(told.get("bit_config", "{}")).values()
    return rounds and all(act_bits in (None, 8) for _, act_bits in widths)


def _openvino(path: Path | str, threads: int, precision: str) -> Run:
    import openvino  # type: ignore[import-untyped]

    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": precision,
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
    }
    compiled = openvino.Core().compile_model(str(path), "CPU", settings)
    return lambda images: compiled(images)[0].copy()
