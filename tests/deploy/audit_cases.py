"""A small classifier that works, on long-tailed images that are made up; audited once."""

import functools

import numpy as np
import torch
from torch import Tensor, nn

from ltqlib.data import Split
from ltqlib.deploy.audit import Audit, audit
from ltqlib.models import Graph

COUNTS = (200, 120, 60, 30, 16, 8)  # training images
TEST, SIDE = 30, 16
CLASSES = ["car", "tree", "<script>alert(1)</script>", "$x_2$ & co", "é\\n", "rare"]


def pictures(counts: tuple[int, ...], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (N, 16, 16, 3) and labels: a pattern a class under much noise."""
    pattern = np.random.default_rng(7).integers(60, 190, (len(counts), 4, 4, 3))
    labels, rng = np.repeat(np.arange(len(counts)), counts), np.random.default_rng(seed)
    base = pattern[labels].repeat(SIDE // 4, 1).repeat(SIDE // 4, 2)
    return np.clip(base + rng.normal(0, 90, base.shape), 0, 255).astype(np.uint8), labels


class Net(nn.Module):
    """Two convolutions with random weights and a last layer that is fitted."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 12, 3, padding=1)
        self.second = nn.Conv2d(12, 16, 3, padding=1, stride=2)
        self.last = nn.Linear(16 * 16, len(COUNTS))

    def features(self, pixels: Tensor) -> Tensor:
        x = self.second(self.first(pixels.float() / 255 - 0.5).relu()).relu()
        return nn.functional.avg_pool2d(x, 2).flatten(1)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.last(self.features(pixels))


@functools.cache
def net() -> Net:
    """Fitted by ridge regression on the training images."""
    torch.manual_seed(0)
    model, (images, labels) = Net().eval(), pictures(COUNTS, 1)
    with torch.no_grad():
        x = model.features(torch.from_numpy(images).permute(0, 3, 1, 2)).double()
        x = torch.cat([x, torch.ones(len(x), 1)], 1)
        target = nn.functional.one_hot(torch.from_numpy(labels)).double() * 10
        found = torch.linalg.solve(x.T @ x + 0.3 * torch.eye(x.shape[1]).double(), x.T @ target)
        model.last.weight.copy_(found[:-1].T)
        model.last.bias.copy_(found[-1])
    return model


@functools.cache
def graph() -> Graph:
    """Of :func:`net`."""
    return Graph.trace(net(), torch.from_numpy(split().images[:2]).permute(0, 3, 1, 2))


@functools.cache
def split() -> Split:
    """Thirty images a class."""
    return Split.of(*pictures((TEST,) * len(COUNTS), 2), CLASSES, counts=COUNTS)


@functools.cache
def audited() -> Audit:
    """At 8, 4 and 2 bits, with two other methods and a second test set."""
    other = Split.of(*pictures((9,) * len(COUNTS), 3), CLASSES, counts=COUNTS)
    tests = {"test": split(), "other": other}
    methods = ("w-tensor", "corrected-channel")
    return audit(net(), pictures(COUNTS, 1), tests, (8, 4, 2), methods=methods, name="A <b>net</b>")
