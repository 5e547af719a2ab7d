"""How long an audit takes, before it is done; and how many images a quick one can afford."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ltqlib.deploy.audit import METHODS
from ltqlib.deploy.bench import RANGES, Work, graph_logits
from ltqlib.deploy.subject import Subject

PILOT, QUICK = 64, 40.0  # images that are timed; seconds of a quick audit
REPORT = 15.0  # seconds that the report takes
SAMPLES = (200, 500, 1000, 2000, 5000, 10_000, 20_000)


@dataclass(frozen=True)
class Plan:
    """Seconds an image of the whole audit, what does not grow with images, and test images."""

    seconds_per_image: float
    once: float
    images: int
    quick: int

    def seconds(self, images: int | None = None) -> float:
        """Of an audit of so many test images; left out, all."""
        return self.once + self.seconds_per_image * min(images or self.images, self.images)

    def told(self, images: int | None = None) -> str:
        """One line."""
        many = min(images or self.images, self.images)
        sample = f" (a sample of {self.images:,})" if many < self.images else ""
        return f"about {self.seconds(images):.0f} s for {many:,} test images{sample}"


def plan(subject: Subject, bits: Sequence[int], folder: Path | None = None) -> Plan:
    """Time the float model and single layers on a few images, and count what an audit computes.

    Args:
        folder: where a plan is kept, so that the same command takes the same sample.
    """
    kept = Work(folder).recall(
        "plan", {"model": subject.digest, "bits": list(bits)}, lambda: _timed(subject, bits)
    )
    each, once = kept["each"].item(), kept["once"].item()
    images = sum(len(test) for test in subject.tests.values())
    fit = [n for n in SAMPLES if once + each * n <= QUICK]
    return Plan(each, once, images, max([*fit[-1:], SAMPLES[0]]))


def _timed(subject: Subject, bits: Sequence[int]) -> dict[str, np.ndarray]:
    """Seconds an image and once, from a sweep of two sizes."""
    few = subject.calibration[:PILOT]
    module = subject.graph.module()
    graph_logits(module, few[:8])
    started = time.perf_counter()
    graph_logits(module, few)
    float_each = (time.perf_counter() - started) / len(few)
    whole = 1 + len(bits) + 2 * len(bits) - 1 + len(METHODS)  # float, uniform, mixed, methods
    layers = list(subject.graph.layers.values())
    behind = np.cumsum([layer.macs for layer in layers][::-1])[::-1]
    alone = len(bits) * behind.sum() / max(1, behind[0])  # only what follows the layer is new
    each = float_each * (whole + alone / 2)  # layers are tried on half of the images
    offsets = float_each * len(subject.unlabelled) * (whole + 1)
    methods = float_each * RANGES * 3  # bias correction, about
    return {"each": np.array(each), "once": np.array(offsets + methods + REPORT)}
