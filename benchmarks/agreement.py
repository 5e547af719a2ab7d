"""Do the runtimes predict what the simulator does? All 10,000 test images, the book's VGG16.

    python benchmarks/agreement.py [--images 10000]

Every configuration is exported and run in ONNX Runtime (integers, and float32 arithmetic on the
grids) and in OpenVINO, and where its inputs have 8 bits in torch's int8 kernels; ``biases``
compares ONNX Runtime's integers with a simulator whose biases are on its integer grid. Written to
benchmarks/agreement.json: share of images called the same, and the disagreements of each class.
Two minutes of one core.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import torch

import ltqlib as ltq
from ltqlib.deploy import agreement, export_onnx, integer_biases, run_onnx
from ltqlib.deploy.torch_runtime import int8_module
from ltqlib.evidence.provenance import machine, versions
from ltqlib.quantization import quantize

WEIGHTS = [(method, bits) for method in ("w-tensor", "w-channel") for bits in (8, 6, 4)]
INPUTS = [("wa-tensor", 8), ("wa-percentile", 8), ("wa-mse", 8), ("wa-mse", 6)]
HERE = Path(__file__).parent


def simulated(quantized, pixels):
    """Logits (N, C) in torch."""
    with torch.inference_mode():
        return torch.cat([quantized(part) for part in pixels.split(250)]).numpy()


def main() -> None:
    """Export, run, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000)
    wanted = parser.parse_args().images
    data = ltq.load_data("cifar10", imbalance_factor=0.01)
    test = data.test
    images, labels = test.images[:wanted], test.labels[:wanted]
    graph = next(iter(ltq.train(data))).graph("cpu")
    order = np.random.default_rng(0).permutation(len(data.images))[:512]
    pixels, rows = graph.pixels(images), []
    for method, bits in [*WEIGHTS, *INPUTS]:
        quantized = quantize(graph, bits, method=method, calibration=data.images[np.sort(order)])
        expected, biases = simulated(quantized, pixels), None
        with tempfile.TemporaryDirectory() as folder:
            path = export_onnx(quantized, Path(folder) / "model.onnx").path
            found = {name: run_onnx(path, images, name) for name in ("onnxruntime", "openvino")}
            if method.startswith("wa"):
                found["onnxruntime float32"] = run_onnx(path, images, integer=False)
                if bits == 8:
                    int8 = int8_module(quantized, pixels[:250])
                    found["torch int8"] = simulated(int8, pixels)
                biases = simulated(integer_biases(quantized), pixels)
        compared = {name: agreement(logits, expected, labels) for name, logits in found.items()}
        if biases is not None:
            compared["biases"] = agreement(found["onnxruntime"], biases, labels)
        for name, table in compared.items():
            share = float(table.agreement["all"])
            by_class = table.disagreements.tolist()[:-1]
            rows.append([method, bits, name, round(share, 6), by_class])
            print(f"{method:14} {bits} {name:20} {share:8.2%}", *by_class, flush=True)
    told = {
        "machine": machine(),
        "packages": versions(("torch", "torchao", "onnx", "onnxruntime", "openvino")),
        "images": len(images),
        "columns": ["method", "bits", "runtime", "agreement", "disagreements by class"],
        "rows": rows,
    }
    (HERE / "agreement.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
