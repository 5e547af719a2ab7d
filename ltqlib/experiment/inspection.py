"""``traits`` and ``curvature``: what might explain how a network bears few bits."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from ltqlib.evidence import remember
from ltqlib.experiment.networks import Networks
from ltqlib.experiment.trained import Trained, check_data

if TYPE_CHECKING:
    from ltqlib.models.graph import Graph

WIDTHS = (6, 5, 4)
NOISE = (0.2, 0.4)  # of the weights' standard deviation: about what 5 and 4 bits do to them
DRAWS = 3
METHOD = "w-tensor"
IMAGES, PROBES = 50, 8  # test images a class, and probes, of the Hessian trace


def traits(networks: Networks) -> xr.Dataset:
    """Quantities of baselines, by layer, by class and by group of classes.

    Returns:
        dimensions seed, and as far as a quantity has them layer, bits, group, class, noise:

        * ``max_over_std`` and ``kurtosis`` (3: normal) of each layer's folded weights;
        * ``rounding_noise``: power of the rounding error over that of the weights, one symmetric
          min-max grid a tensor, by layer and bits;
        * ``row_norm`` of the classifier, by class;
        * ``training_loss``, ``training_margin`` (logit of the label less the largest other one), of
          up to 200 training images a class without augmentation, by group;
        * ``accuracy`` on the test images, percent by class, under Gaussian noise on all weights
          whose standard deviation is ``noise`` times that of each layer's weights (0: as it is).
          Unlike rounding it is equally strong, relative to the weights, in every network; a mean
          over three draws (Springer et al., 2025, perturb networks in this way).

    Raises:
        InputError: missing images or weights.
    """
    each = [_traits(trained, images="test", noise=list(NOISE), draws=DRAWS) for trained in networks]
    return xr.concat(each, "seed").assign_coords(seed=networks.seeds)


@remember
def _traits(trained: Trained, *, images: str, noise: list[float], draws: int) -> xr.Dataset:
    """Compute what is not known; the keywords say how, and are the key."""
    from ltqlib.training.following import quantities
    from ltqlib.training.holdout import training_part

    check_data(trained)
    part = training_part(trained.data, trained.config.holdout)
    told = quantities(trained.load(), part, trained.data.groups)
    layers, groups = told["layers"], told["images"]
    graph = trained.graph()
    levels = [0.0, *noise]
    return xr.Dataset(
        {
            "max_over_std": ("layer", [layers[name]["max_over_std"] for name in layers]),
            "kurtosis": ("layer", [layers[name]["kurtosis"] for name in layers]),
            "rounding_noise": (("layer", "bits"), _rounding_noise(graph)),
            "row_norm": ("class", list(told["row_norms"].values())),
            "training_loss": ("group", [groups[name]["loss"] for name in groups]),
            "training_margin": ("group", [groups[name]["margin"] for name in groups]),
            "accuracy": (("noise", "class"), [_accuracy(trained, r, draws) for r in levels]),
        },
        {
            "layer": list(layers),
            "bits": list(WIDTHS),
            "group": list(groups),
            "class": range(graph.classes),
            "noise": levels,
        },
    )


def curvature(networks: Networks) -> xr.Dataset:
    """How sharply the cross-entropy of each class on test images bends along each layer's weights.

    Returns:
        dimensions seed, class, layer: ``curvature``, the trace of the layer's block of the Hessian
        times the variance of its folded weights, in nats, and its ``standard_error`` over probes
        (:func:`ltqlib.importance.hessian_trace`). Half of it is what noise with the variance of
        the weights adds to the class's mean loss, to second order; scaling a layer that BatchNorm
        follows does not change it.

    Raises:
        InputError: missing images or weights.
    """
    each = [_curvature(trained, images="test", count=IMAGES, probes=PROBES) for trained in networks]
    return xr.concat(each, "seed", combine_attrs="drop").assign_coords(seed=networks.seeds)


@remember
def _curvature(trained: Trained, *, images: str, count: int, probes: int) -> xr.Dataset:
    """Compute what is not known; the keywords say how, and are the key."""
    from ltqlib.importance import hessian_trace

    check_data(trained)
    graph, test = trained.graph(), trained.data.test
    members = [np.flatnonzero(test.labels == label)[:count] for label in range(graph.classes)]
    chosen = np.concatenate(members)
    found = hessian_trace(graph, test.images[chosen], test.labels[chosen], probes)
    power = [float(graph.weight(name).var(correction=0)) for name in graph.layers]
    scaled = found * xr.DataArray(power, dims="layer")
    return scaled.rename(trace="curvature").astype("float32")


def _rounding_noise(graph: "Graph") -> list[list[float]]:
    from ltqlib.quantization import variants

    def power(weight: Any, variant: Any) -> float:
        error = variant.weight.dequantize() - weight
        return float(error.square().sum() / weight.square().sum())

    rounded = variants(graph, WIDTHS, METHOD)
    return [[power(graph.weight(n), rounded[n][b]) for b in WIDTHS] for n in graph.layers]


def _accuracy(trained: Trained, noise: float, draws: int) -> npt.NDArray[np.float64]:
    """Percent right of each class, (C,), the mean over the draws."""
    from ltqlib import engine

    graph, test = trained.graph(), trained.data.test
    found = []
    for draw in range(draws if noise else 1):
        model = graph.module(_noisy(graph, noise, draw))
        predicted = engine.predict_module(model, test.images, engine.predicted)["predicted"]
        right = predicted == test.labels
        found.append([100 * right[test.labels == label].mean() for label in range(graph.classes)])
    return np.mean(found, axis=0)


def _noisy(graph: "Graph", noise: float, draw: int) -> Mapping[str, Any]:
    import torch

    generator = torch.Generator().manual_seed(draw)
    weights = {name: graph.weight(name) for name in graph.layers}
    return {
        name: w + noise * w.std() * torch.randn(w.shape, generator=generator).to(w)
        for name, w in weights.items()
    }
