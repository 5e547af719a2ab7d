"""Time, throughput and memory of a whole model on this CPU.

What the precisions are: ``float32``; ``bf16``, the same in bfloat16 where the chip has units for it
(torch and OpenVINO; ONNX Runtime has no such kernels on the CPU); ``int8``, integer arithmetic in
every layer whose weight and input are quantized.

**What widths below 8 bits change is the size of the file, not the time.** No CPU computes with
fewer than 8 bits: a model whose weights alone are quantized, at whatever width, takes the time of
float32 (its weights are dequantized when it is loaded); weights of 8 bits or fewer beside inputs of
8 take the time of int8 where they are kept as int8, as they are here (:func:`export_onnx` keeps
those of 4 bits and fewer as int4 unless it is told otherwise: a smaller file, which the runtimes'
integer kernels do not take); and inputs of fewer bits are simulated, no faster than float32.
"""

import gc
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ltqlib.deploy.onnx import export_onnx
from ltqlib.deploy.runtimes import inputs, load_onnx
from ltqlib.deploy.torch_runtime import in_torch
from ltqlib.errors import InputError
from ltqlib.quantization import Quantized, Variant

RUNTIMES = ("torch", "onnxruntime", "openvino")
PRECISIONS = ("float32", "bf16", "int8")
WARM = 3  # runs before those that count


def latency(
    model: Quantized | Path | str,
    images: Any,
    runtime: str = "onnxruntime",
    batch: int | Sequence[int] = 1,
    precision: str = "float32",
    repeats: int = 30,
    *,
    threads: int = 1,
) -> pd.DataFrame:
    """Measured time of a whole model, one row a batch size.

    Args:
        model: a quantized model (``Quantized(graph, {})`` is the float one; ``float32`` and
            ``bf16`` leave its inputs unrounded), or an ONNX file, which is run as it is.
        images: as the model takes them; repeated where a batch needs more.
        runtime: ``torch``, ``onnxruntime`` or ``openvino``.
        batch: images that are computed together.
        precision: ``float32``, ``bf16`` or ``int8``.
        repeats: runs that count.
        threads: how many compute.

    Returns:
        ``runtime``, ``precision``, ``batch``; ``ms`` (median), ``low`` and ``high`` (quartiles) of
        a batch in milliseconds; ``images_per_second``; ``memory_mb``, the peak beyond what the
        process held before (Linux; what it had freed and kept is not counted, so that a process of
        its own gives the cleanest number).

    Raises:
        InputError: a runtime or precision that is unknown, or a runtime that lacks the precision.
    """
    check(model, runtime, precision)
    rows = []
    for size in [batch] if isinstance(batch, int) else batch:
        before = _memory("VmRSS", reset=True)
        run = _ready(model, images, runtime, precision, threads, size)
        low, median, high = quartiles(_times(run, repeats))
        rows.append(
            {
                "runtime": runtime,
                "precision": precision,
                "batch": size,
                "ms": median,
                "low": low,
                "high": high,
                "images_per_second": 1000 * size / median,
                "memory_mb": max(0.0, _memory("VmHWM") - before),  # pages may be given back
            }
        )
        del run
    return pd.DataFrame(rows)


def check(model: Any, runtime: str, precision: str) -> None:
    """Raise InputError where a runtime cannot run a model at a precision."""
    if runtime not in RUNTIMES:
        raise InputError(f"runtime {runtime!r} is unknown: use one of {', '.join(RUNTIMES)}")
    if precision not in PRECISIONS:
        raise InputError(f"precision {precision!r} is unknown: use one of {', '.join(PRECISIONS)}")
    if (runtime, precision) == ("onnxruntime", "bf16"):
        raise InputError("ONNX Runtime has no bf16 on the CPU: use torch or openvino for it")
    if not isinstance(model, Quantized):
        if runtime == "torch":
            raise InputError("an ONNX file does not run in torch: give the quantized model")
    elif precision == "int8" and {b.act_bits for b in model.bit_config.values()} - {None} != {8}:
        raise InputError(
            f"the inputs of layers do not have 8 bits (method {model.method!r}), so that nothing "
            "runs in int8: use a method that rounds them (wa-...), to 8"
        )


def _ready(
    model: Any, images: Any, runtime: str, precision: str, threads: int, size: int
) -> Callable[[], Any]:
    """A call that computes one batch."""
    if runtime == "torch":
        chosen = at_precision(model, precision)
        pixels = chosen.graph.pixels(repeated(images, size))
        return in_torch(chosen, pixels, precision, threads)
    with tempfile.TemporaryDirectory() as folder:
        path = exported(model, precision, Path(folder))
        hint = "bf16" if precision == "bf16" else "f32"
        run, shape, dtype = load_onnx(path, runtime, threads, precision=hint)
    batch = repeated(inputs(images, shape, dtype), size)
    return lambda: run(batch)


def at_precision(quantized: Quantized, precision: str) -> Quantized:
    """The model with its inputs rounded for ``int8``, else without."""
    if precision == "int8":
        return quantized
    variants = {name: Variant(one.weight) for name, one in quantized.variants.items()}
    return Quantized(quantized.graph, variants, quantized.method, quantized.biases)


def exported(model: Any, precision: str, folder: Path) -> Path:
    """The ONNX file of a model at a precision; a file is itself."""
    if not isinstance(model, Quantized):
        return Path(model)
    path, int4 = folder / "model.onnx", precision != "int8"
    return export_onnx(at_precision(model, precision), path, int4=int4).path


def repeated(images: Any, size: int) -> Any:
    """``size`` images, (size, ...), the given ones again and again."""
    return images[np.arange(size) % len(images)]


def _times(run: Callable[[], Any], repeats: int) -> npt.NDArray[np.float64]:
    """Milliseconds of each run, after some to get warm."""
    found = []
    for _ in range(WARM + repeats):
        started = time.perf_counter()
        run()
        found.append(1000 * (time.perf_counter() - started))
    return np.array(found[WARM:])


def quartiles(values: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile."""
    low, median, high = np.percentile(values, [25, 50, 75])
    return float(low), float(median), float(high)


def _memory(kind: str, reset: bool = False) -> float:
    """MB that this process holds (``VmRSS``) or held at most since a reset (``VmHWM``)."""
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")
    if reset:
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    line = next(x for x in status.read_text(encoding="ascii").splitlines() if x.startswith(kind))
    return int(line.split()[1]) / 1024
