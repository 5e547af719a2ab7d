"""What all scores share: images and labels that fit, and foreign models."""

import numpy as np
import pytest
import torch
from tiny_classes import BITS, LABELS
from torch import nn
from torchvision import models as torchvision_models

from ltqlib import importance
from ltqlib.errors import InputError
from ltqlib.models.graph import Graph
from ltqlib.quantization import variants


def scores(graph, images, labels):
    """Every score that takes images, by name."""
    given = (graph, images, labels)
    return {
        "output_sqnr": lambda: importance.output_sqnr(*given, variants(graph, BITS)),
        "fisher": lambda: importance.fisher(*given),
        "trace": lambda: importance.hessian_trace(*given, probes=2).trace,
        "taylor": lambda: importance.taylor(*given, variants(graph, BITS)),
    }


@pytest.mark.parametrize("name", scores(None, None, None))
def test_images_and_labels_that_do_not_fit_are_refused(graph, images, name):
    for says, some, labels in (
        ("no image was given", images[:0], LABELS[:0]),
        ("12 images have 8 labels", images, LABELS[:8]),
        ("labels must be 0 to 2", images, LABELS + 1),
    ):
        with pytest.raises(InputError, match=says):
            scores(graph, some, labels)[name]()


class Block(nn.Module):
    """What the small network lacks: a shortcut, grouped and transposed convolutions."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1, groups=1)
        self.norm = nn.BatchNorm2d(4)
        self.grouped = nn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.up = nn.ConvTranspose2d(4, 4, 2, stride=2)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x = torch.relu(self.norm(self.first(x)))
        x = torch.relu(x + self.grouped(x))
        return self.head(self.up(x).mean((2, 3)))


def vit():
    module = torchvision_models.VisionTransformer(8, 4, 1, 2, 8, 16, num_classes=3)
    nn.init.normal_(module.heads.head.weight)  # torchvision starts it at zero
    return module


@pytest.mark.parametrize("build", [Block, vit], ids=["block", "ViT"])
def test_every_score_runs_on_any_graph(build):
    torch.manual_seed(0)
    module, images = build().eval(), torch.randn(12, 3, 8, 8)
    graph = Graph.trace(module, images[:2])
    for name, score in scores(graph, images, LABELS).items():
        found = score()
        assert found.layer.values.tolist() == list(graph.layers), name
        assert np.isfinite(found).all(), name
    trace = scores(graph, images, LABELS)["fisher"]()
    leaf = graph.weight(next(reversed(graph.layers))).clone().requires_grad_()
    total = 0.0
    for image in images[LABELS == 2]:
        logits = graph.module({next(reversed(graph.layers)): leaf})(image[None])
        loss = nn.functional.cross_entropy(logits, torch.tensor([2]))
        total += float(torch.autograd.grad(loss, leaf)[0].square().sum())
    assert float(trace.sel({"class": 2})[-1]) == pytest.approx(total / 2, rel=1e-4)
