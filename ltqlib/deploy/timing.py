"""Time, throughput and memory of a model on this CPU: whole, and layer by layer.

What the precisions are: ``float32``; ``bf16``, the same in bfloat16 where the chip has units for it
(torch and OpenVINO; ONNX Runtime has no such kernels on the CPU); ``int8``, integer arithmetic in
every layer whose weight and input are quantized.

**What widths below 8 bits change is the size of the file, not the time.** No CPU computes with
fewer than 8 bits: a model whose weights alone are quantized, at whatever width, takes the time of
float32 (its weights are dequantized when it is loaded); weights of 5 to 7 bits beside inputs of 8
take the time of int8, for they are kept as int8; those of 4 bits and fewer are kept as int4, which
the runtimes' integer kernels do not take (benchmarks/shipping.json); and inputs of fewer bits are
simulated, which is no faster than float32.

The table of layers is a budget for the allocation of bit-widths: ::

    costs = layer_costs({"float32": layers_float32, "int8": layers_int8}, bits=(8, 32))
    ltq.allocate(alone, limits=[Limit("milliseconds", costs, 1.5)], how="exact", choices=(8, 32))
"""

import gc
import json
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
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
OTHER = "other"  # what belongs to no layer: normalization, pooling, changes of memory format
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
    _check(model, runtime, precision)
    rows = []
    for size in [batch] if isinstance(batch, int) else batch:
        before = _memory("VmRSS", reset=True)
        run = _ready(model, images, runtime, precision, threads, size)
        low, median, high = _quartiles(_times(run, repeats))
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


def layer_latency(
    model: Quantized | Path | str,
    images: Any,
    batch: int = 1,
    precision: str = "float32",
    repeats: int = 30,
    *,
    threads: int = 1,
) -> pd.DataFrame:
    """Measured time of every layer, by ONNX Runtime's profiler.

    A layer's time is that of its convolution or product, of the rounding of its input, and of the
    activation or sum behind it, which are computed with it; all else is the last row, ``other``.
    The profiler adds some microseconds to every node; what it reports for a Reshape, which computes
    nothing, is taken off.

    Args:
        model, images, batch, precision, repeats, threads: as for :func:`latency`.

    Returns:
        ``ms`` (median), ``low``, ``high`` (quartiles) by layer, in order of execution.

    Raises:
        InputError: as for :func:`latency`.
    """
    _check(model, "onnxruntime", precision)
    with tempfile.TemporaryDirectory() as folder:
        path = _exported(model, precision, Path(folder))
        run, shape, dtype = load_onnx(path, threads=threads, profile=Path(folder) / "profile")
        pixels = _repeated(inputs(images, shape, dtype), batch)
        for _ in range(WARM + repeats):
            run(pixels)
        del run  # writes the profile
        events = json.loads(next(Path(folder).glob("profile*.json")).read_text(encoding="utf-8"))
        layers = _layers_of(model, path)
    found = {name: np.zeros(repeats) for name in [*layers, OTHER]}
    times = _by_node(events)
    nothing = min((float(np.median(t)) for n, t in times.items() if "/Reshape" in n), default=0.0)
    for name, milliseconds in times.items():
        layer = name.removeprefix("fused ").split("/")[0]
        found[layer if layer in found else OTHER] += (milliseconds[-repeats:] - nothing).clip(0)
    table = pd.DataFrame({name: _quartiles(each) for name, each in found.items()})
    table.index = pd.Index(["low", "ms", "high"])
    return table.T[["ms", "low", "high"]].rename_axis("layer")


def predict_latency(
    tables: Mapping[str, pd.DataFrame] | pd.DataFrame, precisions: Mapping[str, str] | None = None
) -> float:
    """Milliseconds of a whole model: the sum over its layers, and what belongs to none.

    Args:
        tables: of :func:`layer_latency`, one, or ``{precision: table}``.
        precisions: ``{layer: precision}`` where there are several; of what belongs to no layer,
            the share that the layers have of each precision is taken.
    """
    if isinstance(tables, pd.DataFrame):
        return float(tables.ms.sum())
    chosen = precisions or dict.fromkeys(next(iter(tables.values())).index.drop(OTHER), "float32")
    layers = sum(float(tables[precision].ms[layer]) for layer, precision in chosen.items())
    return layers + float(np.mean([tables[p].ms[OTHER] for p in chosen.values()]))


def layer_costs(
    tables: Mapping[str, pd.DataFrame], bits: Iterable[int] = (8, 32)
) -> dict[str, dict[int, float]]:
    """``{layer: {bits: milliseconds}}`` for :class:`ltqlib.allocation.Limit`.

    Every width of 8 bits or fewer takes the time of ``int8`` (widths of 5 to 8 do, see above), 32
    that of ``float32``: a limit on time chooses which layers stay float, one on size the widths.

    Args:
        tables: ``{"float32": table, "int8": table}`` of :func:`layer_latency`.
        bits: the widths that are chosen between.
    """
    of = {width: tables["int8" if width <= 8 else "float32"].ms for width in bits}
    layers = tables["float32"].index.drop(OTHER)
    return {name: {width: float(ms[name]) for width, ms in of.items()} for name in layers}


def _check(model: Any, runtime: str, precision: str) -> None:
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
        pixels = chosen.graph.pixels(_repeated(images, size))
        return in_torch(chosen, pixels, precision, threads)
    with tempfile.TemporaryDirectory() as folder:
        path = _exported(model, precision, Path(folder))
        hint = "bf16" if precision == "bf16" else "f32"
        run, shape, dtype = load_onnx(path, runtime, threads, precision=hint)
    batch = _repeated(inputs(images, shape, dtype), size)
    return lambda: run(batch)


def at_precision(quantized: Quantized, precision: str) -> Quantized:
    """The model with its inputs rounded for ``int8``, else without."""
    if precision == "int8":
        return quantized
    variants = {name: Variant(one.weight) for name, one in quantized.variants.items()}
    return Quantized(quantized.graph, variants, quantized.method, quantized.biases)


def _exported(model: Any, precision: str, folder: Path) -> Path:
    if not isinstance(model, Quantized):
        return Path(model)
    return export_onnx(at_precision(model, precision), folder / "model.onnx").path


def _layers_of(model: Any, path: Path) -> list[str]:
    """Names of the layers, in order; in a file, of its convolutions and products."""
    if isinstance(model, Quantized):
        return model.layers
    import onnx

    kinds = ("Conv", "ConvTranspose", "Gemm", "MatMul")
    nodes = [node for node in onnx.load(path).graph.node if node.op_type in kinds]
    return list(dict.fromkeys(node.name.split("/")[0] for node in nodes))


def _repeated(images: Any, size: int) -> Any:
    return images[np.arange(size) % len(images)]


def _times(run: Callable[[], Any], repeats: int) -> npt.NDArray[np.float64]:
    """Milliseconds of each run, after some to get warm."""
    found = []
    for _ in range(WARM + repeats):
        started = time.perf_counter()
        run()
        found.append(1000 * (time.perf_counter() - started))
    return np.array(found[WARM:])


def _quartiles(values: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    low, median, high = np.percentile(values, [25, 50, 75])
    return float(low), float(median), float(high)


def _by_node(events: list[dict[str, Any]]) -> dict[str, npt.NDArray[np.float64]]:
    """Milliseconds of every node's kernel, run after run."""
    found: dict[str, list[float]] = {}
    for event in events:
        if event["cat"] == "Node" and event["name"].endswith("_kernel_time"):
            name = event["name"].removesuffix("_kernel_time")
            found.setdefault(name, []).append(event["dur"] / 1000)
    return {name: np.array(times) for name, times in found.items()}


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
