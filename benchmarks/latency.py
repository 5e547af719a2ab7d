"""Time, throughput and memory on this CPU: the book's VGG16 in three runtimes, whole and by layer.

    python benchmarks/latency.py [--repeats 100] [--threads 1]

Written to benchmarks/latency.json and printed. Every runtime is measured in a process of its own,
so that its memory is its own; nothing else should run. A minute.

* whole: float32, bf16 and int8 at batch 1 and 64, in each runtime that has them; weights of
  4 bits alone beside them, which change the file and not the time;
* layers: between neighbours of float32 and int8 (ONNX Runtime), and what they predict of ten models
  that were not measured for the tables, beside their measured time and beside the budget, for which
  every layer has the time that it takes between neighbours of its own precision;
* files: bytes of the packed and of the ONNX file at each width.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

import ltqlib as ltq
from ltqlib.deploy import (
    context_latency,
    export_onnx,
    latency,
    layer_costs,
    predict_latency,
    save_packed,
)
from ltqlib.deploy.layer_timing import PAIR, at_precisions
from ltqlib.errors import InputError
from ltqlib.evidence.provenance import machine, versions
from ltqlib.quantization import Quantized, quantize

BITS = {"int8": 8, "float32": 32}
HERE = Path(__file__).parent
BATCHES = (1, 64)
ROUNDED, CALIBRATION, DRAWN = "wa-mse", 512, 8
WHOLE = [("float", "float32"), ("float", "bf16"), (8, "int8"), (4, "float32")]


class Models:
    """The network of the book in its forms, and images."""

    def __init__(self) -> None:
        data = ltq.load_data("cifar10", imbalance_factor=0.01)
        self.graph = next(iter(ltq.train(data))).graph("cpu")
        self.images = data.test.images[: max(BATCHES)]
        order = np.random.default_rng(0).permutation(len(data.images))[:CALIBRATION]
        self.calibration = data.images[np.sort(order)]

    def at(self, bits, method: str = ROUNDED) -> Quantized:
        """All layers at a width, ``{layer: width}``, or ``float``."""
        if bits == "float":
            return Quantized(self.graph, {})
        return quantize(self.graph, bits, method=method, calibration=self.calibration)


def whole(models: Models, runtime: str, repeats: int, threads: int) -> list[dict]:
    """One runtime at every precision that it has."""
    rows = []
    for bits, precision in WHOLE:
        try:
            table = pd.concat(
                latency(
                    models.at(bits), models.images, runtime, batch, precision,
                    max(10, repeats // batch), threads=threads,
                )
                for batch in BATCHES
            )  # fmt: skip
        except InputError as error:
            print(f"{runtime} {precision} {bits}: {error}", file=sys.stderr)
            continue
        rows += table.assign(bits=str(bits)).to_dict("records")
    return rows


def unseen(names: list[str]) -> dict[str, dict[str, str]]:
    """Precisions by layer of models that are predicted, chosen before any was measured.

    Those that the tables are made from, of one precision or in turns, would be predicted well by
    construction, and are not among them.
    """
    found = {}
    half = len(names) // 2
    for first, second in (PAIR, PAIR[::-1]):  # of the two halves of the layers
        own = [first] * half + [second] * (len(names) - half)
        found[f"{first} first"] = dict(zip(names, own, strict=True))
    for seed in range(DRAWN):
        draw = np.random.default_rng(seed).integers(0, 2, len(names))
        own = [PAIR[number] for number in draw]
        found[f"drawn {seed}"] = dict(zip(names, own, strict=True))
    return found


def by_layer(models: Models, repeats: int, threads: int) -> dict:
    """Tables of layers, and predicted beside measured times, of ONNX Runtime."""
    told: dict = {"tables": {}, "predicted": []}
    model, images = models.at(8), models.images
    for batch in BATCHES:
        often = max(10, repeats // batch)
        contexts = context_latency(model, images, batch, often, threads=threads)
        costs = layer_costs(contexts, BITS.values())
        told["tables"][batch] = {
            ">".join(c): contexts[c].dropna().round(5).to_dict() for c in contexts
        }
        for form, precisions in unseen(list(models.graph.layers)).items():
            one = at_precisions(model, precisions)
            precision = "int8" if one.variants else "float32"
            args = (one, images, "onnxruntime", batch, precision, often)
            measured = float(latency(*args, threads=threads).ms[0])
            predicted = predict_latency(contexts, precisions)
            budget = sum(costs[name][BITS[own]] for name, own in precisions.items())
            row = {"model": form, "batch": batch, "budget": budget, "predicted": predicted}
            row |= {"measured": measured, "distance": predicted / measured - 1}
            told["predicted"].append(row)
    return told


def files(models: Models) -> list[dict]:
    """Bytes on disk at each width."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for bits in ("float", 8, 6, 4):
            model = models.at(bits, "w-channel")
            packed = save_packed(model, Path(folder) / "m.safetensors")
            onnx = export_onnx(model, Path(folder) / "m.onnx").nbytes
            rows.append(
                {"bits": str(bits), "model_size": model.model_size, "packed": packed, "onnx": onnx}
            )
    return rows


def main() -> None:
    """Measure each part in a process of its own, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=200, help="runs at batch 1")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--part", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        models, part = Models(), options.part
        often = {"repeats": options.repeats, "threads": options.threads}
        if part == "layers":
            found = {"files": files(models), "layers": by_layer(models, **often)}
        else:
            found = {"whole": whole(models, part, **often)}
        print(json.dumps(found))
        return
    told: dict = {"machine": machine(), "threads": options.threads, "whole": []}
    told["packages"] = versions(("torch", "torchao", "onnx", "onnxruntime", "openvino"))
    for part in ("torch", "onnxruntime", "openvino", "layers"):
        command = [sys.executable, __file__, "--part", part, "--repeats", str(options.repeats)]
        command += ["--threads", str(options.threads)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        told["whole"] += found.pop("whole", [])
        told |= found
    (HERE / "latency.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    show(told)


def show(told: dict) -> None:
    """The tables, for people."""
    print(told["machine"], told["packages"])
    print(pd.DataFrame(told["whole"]).round(3).to_string(index=False))
    predicted = pd.DataFrame(told["layers"]["predicted"])
    print(predicted.round(3).to_string(index=False))
    worst = 100 * predicted.distance.abs().max()
    print(f"predicted against measured: at most {worst:.1f} % apart (wanted: 10 %)")
    print(pd.DataFrame(told["files"]).to_string(index=False))


if __name__ == "__main__":
    main()
