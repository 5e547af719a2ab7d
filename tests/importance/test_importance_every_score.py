"""What all scores share: groups, chosen layers, errors, foreign models."""

import numpy as np
import pytest
import torch
import xarray as xr
from tiny_classes import BITS, CLASSES, LABELS
from torch import nn
from torchvision import models as torchvision_models

from ltqlib import importance
from ltqlib.errors import InputError
from ltqlib.models.graph import Graph
from ltqlib.quantization import variants


def scores(graph, images, labels, groups=None, layers=None):
    """Every score that takes images, by name."""
    given = (graph, images, labels)
    rounded = lambda: variants(graph, BITS, layers=layers)  # noqa: E731
    return {
        "output_sqnr": lambda: importance.output_sqnr(*given, rounded(), groups),
        "fisher": lambda: importance.fisher(*given, groups, layers),
        "fit": lambda: importance.fit(*given, rounded(), groups),
        "trace": lambda: importance.hessian_trace(*given, groups, layers, probes=2).trace,
        "eigenvalue": lambda: importance.top_eigenvalue(*given, groups, layers, 1).value,
        "gradient": lambda: importance.gradient_importance(*given, groups, "gradient", layers),
        "taylor": lambda: importance.taylor(*given, rounded(), groups),
        "learned": lambda: importance.learned_importance(*given, BITS, layers, steps=1),
    }


NAMES = list(scores(None, None, None))


@pytest.mark.parametrize("name", NAMES)
def test_a_class_without_images_and_an_unknown_layer_are_named(graph, images, name):
    without = LABELS[:8]  # no dog
    if name != "learned":  # it has no classes
        with pytest.raises(InputError, match="class 2 of group 'dog' has no image"):
            scores(graph, images[:8], without, CLASSES)[name]()
    with pytest.raises(InputError, match="no layer 'L7'"):
        scores(graph, images, LABELS, layers=["L1", "L7"])[name]()
    with pytest.raises(InputError, match=r"no image was given|12 images"):
        scores(graph, images, LABELS[:0])[name]()


@pytest.mark.parametrize("name", NAMES)
def test_chosen_layers_are_scored_in_the_order_given(graph, images, name):
    two = scores(graph, images, LABELS, layers=["L3", "L1"])[name]()
    assert two.layer.values.tolist() == ["L3", "L1"]
    if name in ("trace", "learned"):  # random draws depend on the layers beside
        return
    every = scores(graph, images, LABELS)[name]()
    xr.testing.assert_allclose(two, every.sel(layer=["L3", "L1"]))


def test_groups_must_have_classes():
    with pytest.raises(InputError, match="no group"):
        importance.image_shares(LABELS, {})
    with pytest.raises(InputError, match="'few' has no class"):
        importance.image_shares(LABELS, {"few": []})


def test_shares_weigh_classes_alike():
    shares = importance.image_shares(LABELS, {"pets": [1, 2], "all": [0, 1, 2]})
    np.testing.assert_allclose(shares.sum("image"), 1)
    for label in (1, 2):
        np.testing.assert_allclose(shares.sel(group="pets").values[label == LABELS].sum(), 0.5)
    by_class = importance.image_shares(LABELS[LABELS != 1])
    assert by_class["class"].values.tolist() == [0, 2]


def test_labels_must_be_classes_of_the_model(graph, images):
    with pytest.raises(InputError, match="labels must be 0 to 2"):
        importance.fisher(graph, images, LABELS + 1)


class Block(nn.Module):
    """What the small network lacks: a shortcut, grouped and transposed convolutions, attention."""

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
