"""What could be shipped: tail accuracy, measured time and file size of the book's VGG16.

    python benchmarks/shipping.py [--repeats 300] [--images 10000]

Every configuration is exported and runs in the runtime that is fastest for it on this CPU (of ONNX
Runtime and OpenVINO, one thread, one image); its accuracy is that of the simulator on the test
images, whose predictions the runtimes give (benchmarks/agreement.json). bf16 is
computed from the float32 file. Written to
benchmarks/shipping.json, which book/audit.md shows. Two minutes of one core; nothing else should
run.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import ltqlib as ltq
from ltqlib.deploy import latency, save_packed
from ltqlib.errors import InputError
from ltqlib.evidence.provenance import machine, versions
from ltqlib.quantization import Quantized, Variant, quantize

WIDTHS = (8, 6, 5, 4, 3)
RUNTIMES = ("onnxruntime", "openvino")


def models(graph, calibration):
    """``(name, kind, precision, model)`` of each configuration."""
    plain = Quantized(graph, {})
    yield "float32", "float", "float32", plain
    yield "bf16", "float", "bf16", plain
    for bits in WIDTHS:
        model = quantize(graph, bits, method="w-channel")
        yield f"{bits} bits", "weights alone", "float32", model
    inputs = quantize(graph, 8, method="wa-mse", calibration=calibration).variants
    for bits in WIDTHS:
        weights = quantize(graph, bits, method="w-channel").variants
        forms = {name: Variant(one.weight, inputs[name].input) for name, one in weights.items()}
        yield f"{bits} bits", "inputs in 8 bits too", "int8", Quantized(graph, forms)


def fastest(model, images, precision: str, repeats: int) -> dict:
    """The row of the runtime with the smallest median."""
    rows = []
    for runtime in RUNTIMES:
        try:
            rows.append(latency(model, images, runtime, 1, precision, repeats))
        except InputError:
            continue  # ONNX Runtime has no bf16
    table = pd.concat(rows, ignore_index=True)
    return table.loc[table["ms"].idxmin(), ["runtime", "ms", "low", "high"]].to_dict()


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=300)
    parser.add_argument("--images", type=int, default=10_000)
    options = parser.parse_args()
    data = ltq.load_data("cifar10", imbalance_factor=0.01)
    test, labels = data.test, data.test.labels[: options.images]
    tail = np.isin(labels, test.groups["tail"])
    graph = next(iter(ltq.train(data))).graph("cpu")
    chosen = np.random.default_rng(0).permutation(len(data.images))[:512]
    pixels = graph.pixels(test.images[: options.images])
    rows = []
    for name, kind, precision, model in models(graph, data.images[np.sort(chosen)]):
        with torch.inference_mode():
            logits = torch.cat([model(part) for part in pixels.split(250)])
        right = logits.argmax(1).numpy() == labels
        with tempfile.TemporaryDirectory() as folder:
            size = save_packed(model, Path(folder) / "model.safetensors")
        row = {"configuration": name, "kind": kind, "precision": precision, "bytes": size}
        row["tail"] = float(100 * right[tail].mean())
        rows.append(row | fastest(model, test.images[:8], precision, options.repeats))
        print(rows[-1], flush=True)
    told = {"machine": machine(), "images": len(labels), "rows": rows}
    told["packages"] = versions(("torch", "onnx", "onnxruntime", "openvino"))
    text = json.dumps(told, indent=1) + "\n"
    Path(__file__).with_suffix(".json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
