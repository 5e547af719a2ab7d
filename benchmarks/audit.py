"""The audit of a ResNet-18 beside the plain way: copy, quantize one layer, evaluate.

The same answer both ways: float, uniform widths, mixed ones and other methods on all test images,
and every layer alone at every width on the half that chooses. The plain way is timed on a few
models, in the faster of two forms, and multiplied by how many models it needs. The network has
random convolutions, BatchNorms with statistics of the images and a fitted last layer, so that its
margins are those of a network that works. `python benchmarks/audit.py --images 1000` takes minutes.
"""

import argparse
import copy
import json
import time

import numpy as np
import torch
import torchvision
from torch import nn

from ltqlib.data import Split
from ltqlib.deploy.audit import METHOD, audit_subject
from ltqlib.deploy.limits import Limits
from ltqlib.deploy.subject import IMAGENET, Normalized, Subject, prepare
from ltqlib.models.graph import as_tensor
from ltqlib.quantization import methods

BITS, COPIES, BATCH = (8, 6, 4), 3, 100


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


def main() -> None:
    """Measure and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--classes", type=int, default=43)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--threads", type=int)
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
    every = len(images) + len(subject.unlabelled)  # class shares are matched on the latter
    plain = one * (whole * every + alone * found.alone.sizes["image"])
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
    print(json.dumps(told))


if __name__ == "__main__":
    main()
