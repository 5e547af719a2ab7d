"""Time of a model layer by layer, and what it predicts where precisions are mixed.

**A layer's time depends on its neighbours.** A runtime computes a layer with integers where what
reads it takes integers as well; beside a float layer it rounds, computes in float32 and changes the
memory format. So a layer is timed in each of the eight contexts that the layers before and behind
it make: :func:`context_latency` measures eight models, in which int8 and float32 take turns.

The table is a budget for the allocation of bit-widths: ::

    contexts = context_latency(rounded, images)
    limit = Limit("milliseconds", layer_costs(contexts, bits=(8, 32)), 1.5)
    widths = ltq.allocate(alone, limits=[limit], how="exact", choices=(8, 32))
"""

import json
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ltqlib.deploy.runtimes import inputs, load_onnx
from ltqlib.deploy.timing import WARM, check, exported, quartiles, repeated
from ltqlib.quantization import Quantized

OTHER = "other"  # what is computed before the first layer
PAIR = ("float32", "int8")
TURNS = ("0000", "1111", "0101", "1010", "0011", "0110", "1100", "1001")  # 1: int8; then again
Context = tuple[str, str, str]  # precision of the layer before, of the layer, of the one behind


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

    A layer's time is that of the rounding of its input, of its convolution or product, and of what
    is computed from there to the next layer: activations, pooling, changes of memory format. What
    comes before the first layer is the last row, ``other``. The profiler adds microseconds to every
    node: the time of the whole without it, measured in turn, says how many, and they are taken off.

    Args:
        model, images, batch, precision, repeats, threads: as for :func:`latency`.

    Returns:
        ``ms`` (median), ``low``, ``high`` (quartiles) by layer, in order of execution.

    Raises:
        InputError: as for :func:`latency`.
    """
    check(model, "onnxruntime", precision)
    with tempfile.TemporaryDirectory() as folder:
        path = exported(model, precision, Path(folder))
        run, shape, dtype = load_onnx(path, threads=threads, profile=Path(folder) / "profile")
        plain, *_ = load_onnx(path, threads=threads)
        pixels = repeated(inputs(images, shape, dtype), batch)
        whole = np.median([_in_turn(run, plain, pixels) for _ in range(WARM + repeats)])
        del run  # writes the profile
        events = json.loads(next(Path(folder).glob("profile*.json")).read_text(encoding="utf-8"))
        layers = _layers_of(model, path)
    found = {name: np.zeros(repeats) for name in [*layers, OTHER]}
    times = {name: each[-repeats:] for name, each in _by_node(events).items()}
    excess = (sum(np.median(each) for each in times.values()) - whole) / len(times)
    layer = OTHER
    for name, milliseconds in times.items():
        own = name.removeprefix("fused ").split("/")[0]
        layer = own if own in found else layer
        found[layer] += (milliseconds - excess).clip(0)
    table = pd.DataFrame({name: quartiles(each) for name, each in found.items()})
    table.index = pd.Index(["low", "ms", "high"])
    return table.T[["ms", "low", "high"]].rename_axis("layer")


def context_latency(
    model: Quantized, images: Any, batch: int = 1, repeats: int = 30, *, threads: int = 1
) -> pd.DataFrame:
    """Measured time of every layer in float32 and int8, between neighbours of either.

    Args:
        model: all layers' weights and inputs in 8 bits.
        images, batch, repeats, threads: as for :func:`ltqlib.deploy.latency`.

    Returns:
        Medians in milliseconds by layer and ``other``; columns are ``before``, ``own``, ``behind``.
        The ends of the network have themselves as neighbours; contexts that they lack are NaN.

    Raises:
        InputError: as for :func:`ltqlib.deploy.latency`.
    """
    found: dict[Context, dict[str, float]] = {}
    for turn in TURNS:
        own = {name: PAIR[int(turn[n % 4])] for n, name in enumerate(model.layers)}
        mixed = at_precisions(model, own)
        precision = "int8" if mixed.variants else "float32"
        ms = layer_latency(mixed, images, batch, precision, repeats, threads=threads).ms
        for name, context in _contexts(own).items():
            found.setdefault(context, {OTHER: float(ms[OTHER])})[name] = float(ms[name])
    table = pd.DataFrame(found).reindex([*model.layers, OTHER]).rename_axis("layer")
    table.columns.names = ["before", "own", "behind"]
    return table


def at_precisions(model: Quantized, precisions: Mapping[str, str]) -> Quantized:
    """The model with some of its layers in float: ``{layer: float32 | int8}``."""
    kept = {name: one for name, one in model.variants.items() if precisions[name] == "int8"}
    return Quantized(model.graph, kept, model.method, model.biases)


def predict_latency(contexts: pd.DataFrame, precisions: Mapping[str, str]) -> float:
    """Milliseconds of a whole model: the sum over its layers, and what comes before them.

    Neighbours are the layers before and behind in order of execution.

    Args:
        contexts: of :func:`context_latency`.
        precisions: ``{layer: float32 | int8}``, all layers in order of execution.
    """
    ms, each = contexts.to_dict(), _contexts(precisions)
    layers = sum(ms[context][name] for name, context in each.items())
    return float(layers + np.mean([ms[context][OTHER] for context in each.values()]))


def layer_costs(
    contexts: pd.DataFrame, bits: Iterable[int] = (8, 32)
) -> dict[str, dict[int, float]]:
    """``{layer: {bits: milliseconds}}`` for :class:`ltqlib.allocation.Limit`.

    Every width of 8 bits or fewer takes the time of ``int8`` (where weights are kept as int8, see
    :func:`ltqlib.deploy.export_onnx`), 32 that of ``float32``: a limit on time chooses which layers
    stay float, one on size the widths. Times are those between neighbours of the same precision, so
    that each place where precisions change adds to them: :func:`predict_latency` says how much.

    Args:
        contexts: of :func:`context_latency`.
        bits: the widths that are chosen between.
    """
    of = {width: contexts[(PAIR[width <= 8],) * 3] for width in bits}
    layers = contexts.index.drop(OTHER)
    return {name: {width: float(ms[name]) for width, ms in of.items()} for name in layers}


def _contexts(precisions: Mapping[str, str]) -> dict[str, Context]:
    """Of every layer, in order of execution."""
    own: Sequence[str] = list(precisions.values())
    padded = [*own[:1], *own, *own[-1:]]
    return dict(zip(precisions, zip(padded, own, padded[2:], strict=False), strict=True))


def _in_turn(run: Any, plain: Any, pixels: Any) -> float:
    """Milliseconds of ``plain``, after ``run``."""
    run(pixels)
    started = time.perf_counter()
    plain(pixels)
    return 1000 * (time.perf_counter() - started)


def _layers_of(model: Any, path: Path) -> list[str]:
    """Names of the layers, in order; in a file, of its convolutions and products."""
    if isinstance(model, Quantized):
        return model.layers
    import onnx

    kinds = ("Conv", "ConvTranspose", "Gemm", "MatMul")
    nodes = [node for node in onnx.load(path).graph.node if node.op_type in kinds]
    return list(dict.fromkeys(node.name.split("/")[0] for node in nodes))


def _by_node(events: list[dict[str, Any]]) -> dict[str, npt.NDArray[np.float64]]:
    """Milliseconds of every node's kernel, run after run."""
    found: dict[str, list[float]] = {}
    for event in events:
        if event["cat"] == "Node" and event["name"].endswith("_kernel_time"):
            name = event["name"].removesuffix("_kernel_time")
            found.setdefault(name, []).append(event["dur"] / 1000)
    return {name: np.array(times) for name, times in found.items()}
