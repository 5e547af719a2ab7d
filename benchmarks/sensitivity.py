"""Time of a sensitivity sweep (all layers x 2, 3, 4, 5, 6, 8 bits), beside the plain way.

    python benchmarks/sensitivity.py [--images 5000] [--data digits] [--runs FOLDER ...] [--json]

Four ways take turns in one run: the plain way (copy the network, quantize one layer, evaluate it
in float32), the same with channels_last, the walk in float32, and the walk in bfloat16 with close
cases settled in float32. Each is timed on a sample; what is printed is the time for ``--images``:
what is done once, plus the time of an image times their number. The plain ways are timed on a few
layers and widths, since every copy costs the same. The floor is the multiply-accumulates of the
walk over the rate of a large bfloat16 product, measured in the same turns; it counts every tap of
a convolution, also those on the padding.

How many cases are close depends on the network. ``--runs`` names folders of trained runs
(train.json and model.safetensors); a network without one is trained for a moment on ``--data``.
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

from ltqlib.first import data, longtail, metrics, models, mpq
from ltqlib.first.config import RunConfig, from_dict, from_profile
from ltqlib.first.models import Network
from ltqlib.first.provenance import machine
from ltqlib.first.quantization import SCHEMES, Bits, quantize_network
from ltqlib.first.sensitivity import Sweep
from ltqlib.first.train import find_device, train

WIDTHS, SCHEME = (2, 3, 4, 5, 6, 8), SCHEMES["w-tensor"]
NETWORKS = {  # what to build, and how many images to time it on
    "vgg16 x0.25": (from_profile("laptop", width=0.25), 600),
    "vgg16 x1": (from_profile("laptop", width=1.0), 180),
    "resnet32 x1": (from_profile("resnet"), 240),
}
ROUNDS, COPIES = 3, 3  # turns; plain copies evaluated in a turn


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds that ``work`` took, and what it returned."""
    started = time.perf_counter()
    result = work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started, result


def trained(config: RunConfig, runs: list[Path], dataset: data.Dataset, count: int) -> Network:
    """The folded network of a run with this architecture and width, else one trained briefly."""
    device = find_device()
    for folder in runs:
        record = json.loads((folder / "train.json").read_text())
        found = from_dict(record["config"])
        if (found.arch, found.width) == (config.arch, config.width):
            network = models.build(found, len(dataset.classes))
            digest = record["payload"]["checkpoint"]
            models.load_checkpoint(network, folder / "model.safetensors", digest)
            return models.fold_batchnorm(network.to(device))
    fields = {**config.public(), "epochs": 0, "train_images": count, "lr": 0.05, "augment": "none"}
    network, _ = train(from_dict(fields), dataset, device)
    return models.fold_batchnorm(network)


def matmul_rate(dtype: torch.dtype, size: int = 2048) -> float:
    """FLOP/s of a large matrix product, the best of three."""
    a = torch.randn(size, size, device=find_device()).to(dtype)
    product = functools.partial(torch.mm, a, a)
    return 2 * size**3 / min(timed(product)[0] for _ in range(3))


def macs_needed(network: Network) -> tuple[int, int]:
    """Multiply-accumulates of an image: (every copy evaluated whole, every layer walked once)."""
    macs = [cost["macs"] for cost in models.layer_costs(network).values()]
    walked = sum(macs) + len(WIDTHS) * sum(i * count for i, count in enumerate(macs, start=1))
    return len(macs) * len(WIDTHS) * sum(macs), walked


class Contest:
    """The four ways on one network: what each did once, and its seconds an image, turn by turn."""

    def __init__(self, network: Network, plain_batch: int = 500) -> None:
        self.network, self.batch = network, plain_batch
        self.layers = list(models.quantizable_layers(network))
        self.pairs = itertools.cycle(itertools.product(self.layers, WIDTHS))
        self.sweeps = {
            "float32": Sweep(network, WIDTHS, SCHEME),
            "fast": Sweep(network, WIDTHS, SCHEME, precision="bfloat16"),
        }
        self.once: dict[str, list[float]] = {}
        self.image: dict[str, list[float]] = {}
        self.found: dict[str, list[np.ndarray]] = {"float32": [], "fast": []}

    def prepare(self, images: np.ndarray) -> None:
        """What is done once: weights quantized, the error of bfloat16 measured on ``images``."""
        self.once["float32"] = [timed(lambda: self.sweeps["float32"].exact_steps)[0]]
        self.once["fast"] = [timed(lambda: self.sweeps["fast"].measure(images))[0]]
        for sweep in self.sweeps.values():  # warm-up
            everything = np.ones((len(self.layers), len(WIDTHS), 4), dtype=bool)
            sweep.predict(images[:4], everything)
        sweep.settled = 0

    def plain(self, name: str, memory_format: torch.memory_format, images: np.ndarray) -> None:
        """A few copies, each quantized in one layer and evaluated whole in float32."""
        copies = len(self.layers) * len(WIDTHS)
        for layer, bits in itertools.islice(self.pairs, COPIES):
            seconds, copy = timed(
                lambda: quantize_network(self.network, {layer: Bits(bits)}, SCHEME).to(  # noqa: B023
                    memory_format=memory_format
                )
            )
            self.once.setdefault(name, []).append(seconds * copies)
            copy.normalize.register_forward_hook(
                lambda _, __, x: x.contiguous(memory_format=memory_format)
            )
            seconds, _ = timed(lambda: models.predict_logits(copy, images, self.batch))  # noqa: B023
            self.image.setdefault(name, []).append(seconds * copies / len(images))

    def walk(self, name: str, images: np.ndarray) -> None:
        """All layers and widths in one walk."""
        everything = np.ones((len(self.layers), len(WIDTHS), len(images)), dtype=bool)
        seconds, found = timed(lambda: self.sweeps[name].predict(images, everything))
        self.image.setdefault(name, []).append(seconds / len(images))
        self.found[name].append(found)

    def seconds(self, name: str, images: int) -> float:
        """Of the whole sweep over so many images."""
        return float(np.median(self.once[name]) + np.median(self.image[name]) * images)


def same_ranking(exact: np.ndarray, fast: np.ndarray, labels: np.ndarray, classes: int) -> bool:
    """Whether overall and tail accuracy rank the layers alike at every width."""
    groups = longtail.head_and_tail(classes, ())

    def rankings(found: np.ndarray) -> list[list[str]]:
        result = []
        for width, driver in itertools.product(range(len(WIDTHS)), ("norm", "tail")):
            left = {
                str(layer): metrics.group_accuracy(found[layer, width], labels, groups)[driver]
                for layer in range(len(found))
            }
            result.append(mpq.rank_by_drop(left, reference=100.0))
        return result

    return rankings(exact) == rankings(fast)


def measure(name: str, network: Network, dataset: data.Dataset, images: int) -> dict[str, Any]:
    """One row of the table."""
    contest, rates = Contest(network), list[float]()
    order = np.random.default_rng(0).permutation(len(dataset.test_labels))
    sample = order[: NETWORKS[name][1]]
    contest.prepare(dataset.test_images[order[-64:]])
    for part in np.array_split(sample, ROUNDS):
        pixels = dataset.test_images[part]
        rates.append(matmul_rate(torch.bfloat16))
        contest.plain("plain", torch.contiguous_format, pixels)
        contest.plain("channels_last", torch.channels_last, pixels)
        contest.walk("float32", pixels)
        contest.walk("fast", pixels)
    exact, fast = (np.concatenate(contest.found[way], axis=-1) for way in ("float32", "fast"))
    whole, walked = macs_needed(network)
    floor = 2 * walked * images / float(np.median(rates))
    seconds = {way: contest.seconds(way, images) for way in contest.image}
    return {
        "network": name,
        **{f"{way} s": round(value, 2) for way, value in seconds.items()},
        "plain / fast": round(seconds["plain"] / seconds["fast"], 2),
        "channels_last / fast": round(seconds["channels_last"] / seconds["fast"], 2),
        "floor s": round(floor, 2),
        "fast / floor": round(seconds["fast"] / floor, 2),
        "MACs saved": round(whole / walked, 2),
        "settled": round(contest.sweeps["fast"].settled / fast.size, 4),
        "agree": round(float((exact == fast).mean()), 6),
        "same ranking": same_ranking(
            exact, fast, dataset.test_labels[sample], len(dataset.classes)
        ),
        "accuracy": round(accuracy(network, dataset, sample), 3),
        "timed on": len(sample),
        "bf16 gflops": round(float(np.median(rates)) / 1e9, 1),
    }


def accuracy(network: Network, dataset: data.Dataset, sample: np.ndarray) -> float:
    """Of the float network, on the images that were timed."""
    logits = models.predict_logits(network, dataset.test_images[sample])
    return float((logits.argmax(1) == dataset.test_labels[sample]).mean())


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--images", type=int, default=5000, help="images of the sweep")
    parser.add_argument("--data", default="digits", help="cifar10, folder:PATH or digits")
    parser.add_argument("--runs", type=Path, nargs="*", default=[], help="folders of trained runs")
    parser.add_argument("--train-images", type=int, default=3000, help="to train a network on")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    dataset = data.load(options.data)
    rows = []
    for name in options.networks:
        config = NETWORKS[name][0]
        network = trained(config, options.runs, dataset, options.train_images)
        rows.append(measure(name, network, dataset, options.images))
    found = {
        "machine": machine(),
        "threads": torch.get_num_threads(),
        "images": options.images,
        "data": options.data.partition(":")[0],
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
