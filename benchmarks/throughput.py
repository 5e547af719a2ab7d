"""Images a second of training and evaluation, beside a plain DataLoader loop of the same model.

    python benchmarks/throughput.py [--widths 0.25 1] [--seconds 20] [--threads N] [--json]

Everything is measured in one run, on random pixels of CIFAR-10's size, after a warm-up; the two
loops take turns, so that a slow minute of the machine hits both. Prints a table, and with --json
one JSON line. The book shows benchmarks/throughput.json, a list of them, one a machine.
"""

import argparse
import contextlib
import itertools
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from ltqlib.first import convolutions
from ltqlib.first.config import from_profile
from ltqlib.first.data import Batches
from ltqlib.first.models import Network, build, fold_batchnorm, layer_costs, predict_logits
from ltqlib.first.provenance import machine
from ltqlib.first.train import find_device, has_bf16_units

BATCH, IMAGES, ROUNDS = 128, 4096, 4


class PlainDataset(Dataset):
    """What a tutorial writes: one image at a time, transforms from torchvision."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, train: bool) -> None:
        augment = [v2.RandomCrop(32, padding=4), v2.RandomHorizontalFlip()] if train else []
        normal = v2.Normalize((0.49, 0.48, 0.45), (0.25, 0.24, 0.26))
        to_float = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), normal]
        self.images, self.labels = images, labels
        self.transform = v2.Compose([*augment, *to_float])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        from PIL import Image

        return self.transform(Image.fromarray(self.images[index])), int(self.labels[index])


def plain_network(width: float) -> Network:
    """The same network without channels_last, fed with normalized floats."""
    network = build(from_profile("laptop", width=width), 10).to(
        memory_format=torch.contiguous_format
    )
    network.normalize = torch.nn.Identity()  # type: ignore[assignment]
    return network


def rate(step: Callable[[], int], seconds: float) -> float:
    """Units a second of ``step``, which does some and says how many."""
    started, done = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - started) < seconds:
        done += step()
    return done / elapsed


def train_step(
    network: torch.nn.Module, batches: Iterator[Any], bf16: bool = False, fast: bool = False
) -> Callable[[], int]:
    """One optimizer step a call, on the next batch; ``fast``: see ltqlib.first.convolutions."""
    network.train()
    optimizer = torch.optim.SGD(
        network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, nesterov=True
    )

    def step() -> int:
        pixels, labels = next(batches)
        way = convolutions.fast(network, pixels.device) if fast else contextlib.nullcontext()
        with way:
            with torch.autocast(pixels.device.type, torch.bfloat16, enabled=bf16):
                logits = network(pixels)
            loss = F.cross_entropy(logits.float(), labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
        optimizer.step()
        return len(labels)

    return step


def forever(epochs: Callable[[int], Iterator[Any]]) -> Iterator[Any]:
    """Epoch after epoch, without an end."""
    for epoch in itertools.count():
        yield from epochs(epoch)


def make_steps(
    width: float, images: np.ndarray, labels: np.ndarray
) -> dict[str, Callable[[], int]]:
    """The five things to time, by name; ``train float32`` is our loop with neither bfloat16 nor
    other ways to convolve than torch's.
    """
    device = find_device()
    ours, plain = build(from_profile("laptop", width=width), 10).to(device), plain_network(width)
    batches = Batches(
        images,
        labels,
        batch_size=BATCH,
        sampler="instance",
        augment="crop-flip",
        seed=0,
        device=device,
    )
    loader = DataLoader(PlainDataset(images, labels, True), BATCH, shuffle=True, drop_last=True)
    test_loader = DataLoader(PlainDataset(images, labels, False), BATCH)
    folded = fold_batchnorm(build(from_profile("laptop", width=width), 10)).to(device)
    plain_eval = plain_network(width).eval()
    test = forever(lambda _: iter(test_loader))

    def evaluate_plain() -> int:
        pixels, truth = next(test)
        with torch.no_grad():
            plain_eval(pixels).argmax(1)
        return len(truth)

    def evaluate_ours() -> int:
        predict_logits(folded, images[:1000])
        return 1000

    before = build(from_profile("laptop", width=width), 10).to(device)
    return {
        "train": train_step(ours, forever(batches.epoch), has_bf16_units(device), fast=True),
        "train float32": train_step(before, forever(batches.epoch)),
        "train loader": train_step(plain, forever(lambda _: iter(loader))),
        "evaluate": evaluate_ours,
        "evaluate loader": evaluate_plain,
    }


def matmul_gflops(dtype: torch.dtype, seconds: float = 4.0, size: int = 2048) -> float:
    """Rate of a large matrix product on the device, in GFLOP/s."""
    a = torch.randn(size, size, device=find_device()).to(dtype)

    def step() -> int:
        (a @ a).sum().item()
        return 1

    step()
    return rate(step, seconds) * 2 * size**3 / 1e9


def measure(widths: list[float], seconds: float) -> dict[str, Any]:
    """The whole benchmark; ``rows`` has one entry a width and task."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (IMAGES, 32, 32, 3), dtype=np.uint8)
    labels = generator.integers(0, 10, IMAGES)
    bf16 = has_bf16_units(find_device())
    peak = {"float32": matmul_gflops(torch.float32)}
    peak["bfloat16"] = matmul_gflops(torch.bfloat16) if bf16 else peak["float32"]
    rows = []
    for width in widths:
        steps = make_steps(width, images, labels)
        for step in steps.values():
            rate(step, 1.0)  # warm-up
        timings: dict[str, list[float]] = {name: [] for name in steps}
        for _ in range(ROUNDS):
            for name, step in steps.items():
                timings[name].append(rate(step, seconds / ROUNDS))
        macs = sum(
            c["macs"]
            for c in layer_costs(build(from_profile("laptop", width=width), 10).eval()).values()
        )
        tasks = (  # name, passes (a backward pass costs two forward passes), loop to compare with
            ("train", 3, "train loader", "bfloat16"),
            ("train float32", 3, "train loader", "float32"),
            ("evaluate", 1, "evaluate loader", "float32"),
        )
        for task, passes, other, precision in tasks:
            fast, plain = np.median(timings[task]), np.median(timings[other])
            gflops = fast * 2 * macs * passes / 1e9
            rows.append(
                {
                    "width": width,
                    "task": task,
                    "images/s": round(float(fast), 1),
                    "loader images/s": round(float(plain), 1),
                    "ratio": round(float(fast / plain), 2),
                    "of matmul": round(float(gflops / peak[precision]), 3),
                }
            )
    rates = {name: round(value, 1) for name, value in peak.items()}
    return {
        "machine": machine(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "matmul_gflops": rates,
        "rows": rows,
    }


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--widths", type=float, nargs="+", default=[0.25, 1.0])
    parser.add_argument("--seconds", type=float, default=20, help="time for each of the five loops")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    found = measure(options.widths, options.seconds)
    if options.json:
        print(json.dumps(found))
        return
    print(
        f"{found['machine']}, {found['threads']} threads, GFLOP/s of a matrix product: "
        f"{found['matmul_gflops']}"
    )
    header = list(found["rows"][0])
    print("  ".join(f"{name:>15}" for name in header))
    for row in found["rows"]:
        print("  ".join(f"{row[name]:>15}" for name in header))


if __name__ == "__main__":
    main()
