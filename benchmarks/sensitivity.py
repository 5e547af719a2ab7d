"""Time of a sensitivity sweep (all layers x 2, 3, 4, 5, 6, 8 bits), beside the plain way.

    python benchmarks/sensitivity.py [--images 5000] [--data digits] [--checkpoint vgg16=PATH ...]
                                     [--networks NAME ...] [--threads 1] [--cpu-time] [--json]

Four ways take turns in one run: the plain way (one module for each layer and width, BatchNorm
folded, evaluated in float32 in batches of its best size), the same with channels_last, the engine
in float32, and the engine in bfloat16 with close cases settled in float32. Each is timed on a
sample; what is printed is the time for ``--images``: what is done once, plus the time of an image
times their number. The plain ways are timed on a few layers and widths, since every copy costs the
same. The floor is the multiply-accumulates that the engine cannot avoid over the rate of a large
bfloat16 product, measured in the same turns; it counts every tap of a convolution, also those on
the padding.

How many cases are close depends on the network. ``--checkpoint`` names trained weights of the
library's networks; all others are trained for a moment on ``--data``.
``--cpu-time`` counts processor seconds, where the machine is not alone.
"""

import argparse
import functools
import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from torch import Tensor, nn

from ltqlib import load_data, models
from ltqlib.config import from_profile
from ltqlib.data import LongTail
from ltqlib.engine import predict
from ltqlib.evidence.provenance import machine
from ltqlib.models import Graph
from ltqlib.quantization import methods
from ltqlib.training.devices import find_device

WIDTHS, METHOD, FLOAT = (2, 3, 4, 5, 6, 8), "w-tensor", 32
NETWORKS = {  # how many images to time it on, and their side
    "vgg16": (600, 32),
    "resnet32": (240, 32),
    "resnet18": (160, 64),
    "mobilenet_v2": (160, 64),
}
PROFILES = {"vgg16": "laptop", "resnet32": "resnet"}  # the library's; the others are torchvision's
TRAINED_ON, PASSES = 1000, 6
ROUNDS, COPIES = 3, 3  # turns; plain copies evaluated in a turn
ONCE = 64  # images on which a call is mostly what is done once
BATCHES = (25, 100, 500)  # of the plain way, which takes the best

clock: Callable[[], float] = time.perf_counter


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds that ``work`` took, and what it returned."""
    started = clock()
    result = work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return clock() - started, result


def trained(module: nn.Module, images: Tensor, labels: Tensor) -> nn.Module:
    """A few passes with Adam, so that classes are as far apart as those of a trained network."""
    optimizer = torch.optim.Adam(module.parameters(), 1e-3)
    module.train()
    generator = torch.Generator().manual_seed(0)
    for _ in range(PASSES):
        for at in torch.randperm(len(images), generator=generator).split(64):
            with torch.autocast(images.device.type, torch.bfloat16):
                loss = nn.functional.cross_entropy(module(images[at]), labels[at])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return module.eval()


def made(name: str, data: LongTail, checkpoint: str | None) -> tuple[Graph, Any, float]:
    """The graph of a network, test images as it takes them, and its accuracy on them."""
    torch.manual_seed(0)
    device, side = find_device(), NETWORKS[name][1]
    order = np.random.default_rng(0).permutation(len(data.test.labels))[: NETWORKS[name][0]]
    if name in PROFILES:
        module = models.build(from_profile(PROFILES[name]), len(data.classes)).to(device)
    else:
        module = getattr(torchvision.models, name)(num_classes=len(data.classes)).to(device)

    def pixels(images: np.ndarray) -> Tensor:
        tensor = torch.from_numpy(images).permute(0, 3, 1, 2).to(device)
        if name in PROFILES:
            return tensor
        return nn.functional.interpolate((tensor - 127.5) / 63.75, size=(side, side))

    if checkpoint:
        models.load_checkpoint(module, Path(checkpoint))
    else:
        some = np.random.default_rng(1).permutation(len(data.labels))[:TRAINED_ON]
        labels = torch.from_numpy(data.labels[some]).to(device)
        trained(module, pixels(data.images[some]), labels)
    images = pixels(data.test.images[order])
    graph = Graph.trace(module, images[:2])
    found = torch.cat([graph.logits(part).argmax(1) for part in images.split(100)]).cpu().numpy()
    return graph, images, float((found == data.test.labels[order]).mean())


def matmul_rate(dtype: torch.dtype, size: int = 2048) -> float:
    """FLOP/s of a large matrix product, the best of three."""
    a = torch.randn(size, size, device=find_device()).to(dtype)
    product = functools.partial(torch.mm, a, a)
    return 2 * size**3 / min(timed(product)[0] for _ in range(3))


def macs_needed(graph: Graph) -> tuple[int, int]:
    """Multiply-accumulates of an image: (every copy whole, every layer once a prefix)."""
    macs = [layer.macs for layer in graph.layers.values()]
    walked = sum(macs) + len(WIDTHS) * sum(i * count for i, count in enumerate(macs, start=1))
    return len(macs) * len(WIDTHS) * sum(macs), walked


class Contest:
    """The four ways on one graph: what each did once, and its seconds an image, turn by turn."""

    def __init__(self, graph: Graph, images: Any) -> None:
        self.graph, self.images = graph, images
        method: Any = methods.get(METHOD)
        self.variants = {n: {b: method.variant(graph, n, b) for b in WIDTHS} for n in graph.layers}
        self.pairs = itertools.cycle(itertools.product(graph.layers, WIDTHS))
        layers = len(graph.layers)
        self.rows = np.full((layers * len(WIDTHS), layers), FLOAT)
        for row, (layer, bits) in enumerate(np.ndindex(layers, len(WIDTHS))):
            self.rows[row, layer] = WIDTHS[bits]
        self.once: dict[str, list[float]] = {}
        self.image: dict[str, list[float]] = {}
        self.found: dict[str, list[np.ndarray]] = {"float32": [], "bfloat16": []}
        self.batch: dict[str, int] = {}

    def plain(self, name: str, memory_format: torch.memory_format, images: Any) -> None:
        """A few copies, each quantized in one layer and evaluated whole in float32."""
        copies = len(self.rows)
        for layer, bits in itertools.islice(self.pairs, COPIES):
            seconds, copy = timed(lambda: self._copy(layer, bits, memory_format))  # noqa: B023
            self.once.setdefault(name, []).append(seconds * copies)

            def evaluate(batch: int, copy: nn.Module = copy) -> float:
                seconds, _ = timed(lambda: self._evaluate(copy, images, batch, memory_format))
                return seconds * copies / len(images)

            if name not in self.batch:
                self.batch[name] = min(BATCHES, key=evaluate)
            self.image.setdefault(name, []).append(evaluate(self.batch[name]))

    def _copy(self, layer: str, bits: int, memory_format: torch.memory_format) -> nn.Module:
        weight = self.variants[layer][bits].weight.dequantize()
        return self.graph.module({layer: weight}).to(memory_format=memory_format)

    @torch.inference_mode()
    def _evaluate(
        self, copy: nn.Module, images: Any, batch: int, memory_format: torch.memory_format
    ) -> None:
        for pixels in self.graph.batches(images, batch):
            copy(pixels.contiguous(memory_format=memory_format)).argmax(1)

    def engine(self, precision: str, images: Any) -> None:
        """All layers and widths in one call; a small call shows what is done once."""
        few, _ = timed(lambda: self._sweep(precision, self.images[-ONCE:]))
        many, found = timed(lambda: self._sweep(precision, images))
        each = (many - few) / max(1, len(images) - ONCE)
        self.once.setdefault(precision, []).append(few - ONCE * each)
        self.image.setdefault(precision, []).append(each)
        self.found[precision].append(found)

    def _sweep(self, precision: str, images: Any) -> np.ndarray:
        found = predict(self.graph, self.variants, self.rows, images, precision=precision)
        return found["predicted"]

    def seconds(self, name: str, images: int) -> float:
        """Of the whole sweep over so many images."""
        return float(np.median(self.once[name]) + np.median(self.image[name]) * images)


def measure(name: str, graph: Graph, images: Any, accuracy: float, count: int) -> dict[str, Any]:
    """One column of the table."""
    contest, rates = Contest(graph, images), list[float]()
    for _ in range(ROUNDS):
        rates.append(matmul_rate(torch.bfloat16))
        contest.plain("plain", torch.contiguous_format, images)
        contest.plain("channels_last", torch.channels_last, images)
        contest.engine("float32", images)
        contest.engine("bfloat16", images)
    exact, fast = (np.concatenate(contest.found[way]) for way in ("float32", "bfloat16"))
    whole, walked = macs_needed(graph)
    floor = 2 * walked * count / float(np.median(rates))
    seconds = {way: contest.seconds(way, count) for way in contest.image}
    best = min(seconds["float32"], seconds["bfloat16"])
    return {
        "network": name,
        **{f"{way} s": round(value, 2) for way, value in seconds.items()},
        "plain / engine": round(seconds["plain"] / best, 2),
        "channels_last / engine": round(seconds["channels_last"] / best, 2),
        "floor s": round(floor, 2),
        "engine / floor": round(best / floor, 2),
        "MACs saved": round(whole / walked, 2),
        "agree": round(float((exact == fast).mean()), 6),
        "plain batch": contest.batch["plain"],
        "accuracy": round(accuracy, 3),
        "timed on": len(images),
        "bf16 gflops": round(float(np.median(rates)) / 1e9, 1),
    }


def main() -> None:
    """Parse the arguments, measure, print."""
    global clock
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--images", type=int, default=5000, help="images of the sweep")
    parser.add_argument("--data", default="digits", help="cifar10, folder:PATH or digits")
    parser.add_argument("--checkpoint", nargs="*", default=[], help="network=PATH")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--cpu-time", action="store_true", help="processor seconds")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    clock = time.process_time if options.cpu_time else time.perf_counter
    if options.threads:
        torch.set_num_threads(options.threads)
    data = load_data(options.data)
    checkpoints = dict(given.split("=", 1) for given in options.checkpoint)
    rows = []
    for name in options.networks:
        rows.append(measure(name, *made(name, data, checkpoints.get(name)), options.images))
    found = {
        "machine": machine(),
        "threads": torch.get_num_threads(),
        "images": options.images,
        "data": options.data.partition(":")[0],
        "clock": "processor" if options.cpu_time else "wall",
        "rows": rows,
    }
    if options.json:
        print(json.dumps(found))
        return
    print(f"{found['machine']}, {found['threads']} threads; seconds for {options.images} images")
    for key in rows[0]:
        print(f"{key:>22}" + "".join(f"{row[key]!s:>14}" for row in rows))


if __name__ == "__main__":
    main()
