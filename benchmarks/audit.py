"""The audit of a ResNet-18 beside the plain way (copy, quantize one layer, evaluate) and tools.

The same answer both ways: float, uniform widths, mixed ones and other methods on all test images,
and every layer alone at every width on the half that chooses. The plain way is timed on a few
models, in the faster of two forms, and multiplied by how many models it needs. The network has
random convolutions, BatchNorms with statistics of the images and a fitted last layer, so that its
margins are those of a network that works. `python benchmarks/audit.py --images 1000` takes minutes.

optimum-quanto, model-compression-toolkit, aimet-torch and ONNX Runtime's quantize_static, where
they can be imported, get the same treatment: one layer (of three) is quantized with the tool and
evaluated, and the seconds to make a model and of an image are multiplied by what the answer needs.
Each works at the widths that it has (quanto, MCT and ONNX Runtime 8 here, so that none but AIMET
could give this answer); a width that it lacks is timed as one that it has. Intervals, the choice of
widths and the repair are in the audit's time, not in the tools'. Written to benchmarks/audit.json.
"""

import argparse
import contextlib
import copy
import io
import json
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import torchvision
from torch import nn

from ltqlib.data import Split
from ltqlib.deploy.audit import METHOD, audit_subject
from ltqlib.deploy.limits import Limits
from ltqlib.deploy.subject import IMAGENET, Normalized, Subject, prepare
from ltqlib.evidence.provenance import machine
from ltqlib.models.graph import Graph, as_tensor
from ltqlib.quantization import methods

BITS, COPIES, BATCH = (8, 6, 4), 3, 100
LAYERS = ("layer1.0.conv1", "layer3.1.conv2", "layer4.0.conv1")  # of the ResNet
Tool = Callable[[nn.Module, str, np.ndarray], Callable[[np.ndarray], object]]


def pictures(classes: int, each: int, side: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (classes * each, side, side, 3) and labels: a pattern a class under noise."""
    pattern = np.random.default_rng(7).integers(60, 190, (classes, 8, 8, 3), np.uint8)
    labels, generator = np.repeat(np.arange(classes), each), np.random.default_rng(seed)
    base = pattern[labels].repeat(side // 8, 1).repeat(side // 8, 2)
    noise = generator.normal(0, 60, base.shape).astype(np.float32)
    return np.clip(base + noise, 0, 255).astype(np.uint8), labels


@torch.no_grad()
def fitted(images: np.ndarray, labels: np.ndarray, classes: int) -> nn.Module:
    """A ResNet-18 that takes pixels."""
    torch.manual_seed(0)
    net = torchvision.models.resnet18(num_classes=classes)
    model = Normalized(net, *IMAGENET)
    for norm in net.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.momentum = None
    for start in range(0, len(images), BATCH):
        model.train()(as_tensor(images[start : start + BATCH]))
    last, net.fc = net.fc, nn.Identity()
    model.eval()
    parts = [model(as_tensor(images[s : s + BATCH])) for s in range(0, len(images), BATCH)]
    x = torch.cat([torch.cat(parts), torch.ones(len(images), 1)], 1).double()
    target = 10 * nn.functional.one_hot(torch.from_numpy(labels), classes).double()
    found = torch.linalg.solve(
        x.T @ x + 1e-2 * len(x) * torch.eye(x.shape[1]).double(), x.T @ target
    )
    last.weight.copy_(found[:-1].T)
    last.bias.copy_(found[-1])
    net.fc = last
    return model


@torch.inference_mode()
def plain_each(subject: Subject, model: nn.Module, images: np.ndarray) -> float:
    """Seconds an image and model: the module as it is, or folded and channels last."""
    method, layers = (
        methods.get(METHOD),
        list(subject.graph.layers)[:: len(subject.graph.layers) // COPIES],
    )
    seconds: dict[str, list[float]] = {"module": [], "folded": []}
    for layer in layers[:: len(layers) // COPIES][:COPIES]:
        weight = method.variant(subject.graph, layer, BITS[-1]).weight.dequantize()
        started = time.perf_counter()
        one = copy.deepcopy(model)
        for start in range(0, len(images), BATCH):
            one(as_tensor(images[start : start + BATCH])).argmax(1)
        seconds["module"].append(time.perf_counter() - started)
        started = time.perf_counter()
        folded = subject.graph.module({layer: weight}).to(memory_format=torch.channels_last)
        for start in range(0, len(images), BATCH):
            folded(as_tensor(images[start : start + BATCH])).argmax(1)
        seconds["folded"].append(time.perf_counter() - started)
    return min(float(np.median(each)) for each in seconds.values()) / len(images)


def quanto(model: nn.Module, layer: str, images: np.ndarray) -> Callable[[np.ndarray], object]:
    """Weights of one layer in 8 bits (4 need a compiler for C++)."""
    from optimum.quanto import freeze, qint8, quantize

    one = copy.deepcopy(model)
    quantize(one, weights=qint8, include=[f"model.{layer}"])
    freeze(one)
    return lambda pixels: one(as_tensor(pixels)).argmax(1)


def aimet(model: nn.Module, layer: str, images: np.ndarray) -> Callable[[np.ndarray], object]:
    """Weights of one layer in 4 bits; the quantizers of all others are taken away."""
    from aimet_torch.quantsim import QuantizationSimModel

    few = as_tensor(images[:BATCH]).float()
    sim = QuantizationSimModel(model, few, default_param_bw=4)
    for name, module in sim.named_qmodules():
        module._remove_activation_quantizers()
        if name != f"model.{layer}":
            module._remove_param_quantizers()
    sim.compute_encodings(lambda m: m(few))
    return lambda pixels: sim.model(as_tensor(pixels).float()).argmax(1)


def mct(model: nn.Module, layer: str, images: np.ndarray) -> Callable[[np.ndarray], object]:
    """All layers in 8 bits: what is timed is the tool's passage from a model to a model."""
    from model_compression_toolkit.ptq import pytorch_post_training_quantization

    few = ((images[:BATCH].transpose(0, 3, 1, 2) / 255 - 0.45) / 0.225).astype(np.float32)

    def calibration() -> Iterator[list[np.ndarray]]:
        yield [few]

    one, _ = pytorch_post_training_quantization(model.model, calibration)
    mean, std = model.mean, model.std
    return lambda pixels: one((as_tensor(pixels) / 255 - mean) / std).argmax(1)


def onnxruntime(model: nn.Module, layer: str, images: np.ndarray) -> Callable[[np.ndarray], object]:
    """One layer in 8 bits by ``quantize_static``."""
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    from ltqlib.deploy import export_onnx
    from ltqlib.deploy.runtimes import load_onnx
    from ltqlib.quantization import Quantized

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = [{"images": images[:BATCH].transpose(0, 3, 1, 2)}]

        def get_next(self) -> dict | None:
            return self.left.pop() if self.left else None

    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        export_onnx(Quantized(graph_of(model), {}), source)
        node = f"model.{layer}/Conv"
        quantize_static(source, target, Reader(), nodes_to_quantize=[node], per_channel=True)
        run, _, _ = load_onnx(target, threads=torch.get_num_threads())
    return lambda pixels: run(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))).argmax(1)


TOOLS: dict[str, Tool] = {"quanto": quanto, "MCT": mct, "AIMET": aimet, "ONNX Runtime": onnxruntime}
GRAPHS: dict[int, Graph] = {}


def graph_of(model: nn.Module) -> Graph:
    """Traced once: no tool's time is ours."""
    if id(model) not in GRAPHS:
        GRAPHS[id(model)] = Graph.trace(model, torch.zeros(2, 3, 64, 64, dtype=torch.uint8))
    return GRAPHS[id(model)]


def timed(tool: Tool, model: nn.Module, images: np.ndarray) -> tuple[float, float] | str:
    """Seconds to make a model and of an image, medians; or why there are none."""
    made, each = [], []
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            tool(model, LAYERS[0], images)  # imports and first calls do not count
            for layer in LAYERS:
                started = time.perf_counter()
                run = tool(model, layer, images)
                made.append(time.perf_counter() - started)
                with torch.inference_mode():
                    run(images[:BATCH])
                    started = time.perf_counter()
                    for start in range(0, len(images), BATCH):
                        run(images[start : start + BATCH])
                each.append((time.perf_counter() - started) / len(images))
    except Exception as error:  # each tool has its own
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    return float(np.median(made)), float(np.median(each))


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--classes", type=int, default=43)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--tools", default=",".join(TOOLS), help="left out: all that are there")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    each = max(2, options.images // options.classes)
    model = fitted(*pictures(options.classes, 20, options.side, 1), options.classes)
    images, labels = pictures(options.classes, each, options.side, 2)
    counts = np.geomspace(500, 10, options.classes).astype(int)
    test = Split.of(images, labels, counts=counts.tolist())
    subject = prepare(model, pictures(options.classes, 12, options.side, 3)[0], test)
    one_first = plain_each(subject, model, images[:: max(1, len(images) // 200)])
    started = time.perf_counter()
    found = audit_subject(subject, Limits(), BITS)
    ours = time.perf_counter() - started
    one = (one_first + plain_each(subject, model, images[:: max(1, len(images) // 200)])) / 2
    whole = found.outcomes.sizes["configuration"]
    alone = found.alone.sizes["layer"] * len(BITS)
    found_alone = found.alone.sizes["image"]
    every = len(images) + len(subject.unlabelled)  # class shares are matched on the latter
    plain = one * (whole * every + alone * found_alone)
    right = (found.outcomes["predicted"] == found.outcomes["label"]).sel(configuration="float")
    told = {
        "images": len(images),
        "models on all images": whole,
        "models on half of them": alone,
        "threads": torch.get_num_threads(),
        "accuracy": round(float(right.mean()), 3),
        "audit, s": round(ours, 1),
        "plain way, s": round(plain, 1),
        "audit / plain": round(ours / plain, 3),
    }
    for name in filter(None, options.tools.split(",")):
        result = timed(TOOLS[name], model, images[:: max(1, len(images) // 200)])
        if isinstance(result, str):
            told[f"{name}, skipped"] = result
            continue
        make, each_image = result
        total = make * (whole + alone) + each_image * (whole * every + alone * found_alone)
        told[f"{name}, s"] = round(total, 1)
        told[f"{name}: a model, an image, s"] = [round(make, 3), round(each_image, 6)]
        told[f"audit / {name}"] = round(ours / total, 3)
    told["machine"] = machine()
    text = json.dumps(told, indent=1)
    Path(__file__).with_suffix(".json").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
