"""Proxies: what predicts the loss of a bit configuration without running it.

A proxy is a function of a :class:`ltqlib.first.bench.View`, which holds what was measured on one half of
the test images, and returns a number for every configuration, (M,): larger where a larger loss is
expected. Only the order counts. Those below need the sizes of layers, the accuracies with one layer
rounded, or the metrics of :mod:`ltqlib.first.importance`, where their sources are named.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from ltqlib.first.bench.columns import Array, View
from ltqlib.first.mpq import cvar

Function = Callable[[View], Array]

WORST = 0.3  # the share of classes that the CVaR of importances averages, as for allocations


@dataclass(frozen=True)
class Proxy:
    """A proxy and what it needs.

    Args:
        name: what the leaderboard calls it.
        needs: ``sizes``, ``accuracy`` (with one layer rounded), ``weights``, ``outputs`` (with one
            layer rounded), ``pairs`` (with two), ``gradients``, ``curvature`` or ``training``.
        scores: the metrics of steps ``importance`` and ``pairs`` that it reads.
        function: the proxy.
    """

    name: str
    needs: str
    scores: tuple[str, ...]
    function: Function

    def measured(self, view: View) -> bool:
        """Whether the view has what it reads."""
        return all(name in view.scores for name in self.scores)


def average_bits(view: View) -> Array:
    """Fewer bits a weight, averaged over weights: the model size, as :func:`mpq.model_size`."""
    return -(view.widths @ view.parameters) / view.parameters.sum()


def bit_operations(view: View) -> Array:
    """Fewer bit operations at equal activation bits, as :func:`ltqlib.first.mpq.bops`."""
    return -(view.widths @ view.macs).astype(float)


def narrow_layers(view: View) -> Array:
    """The mean over layers of ``4 ** -bits``: noise of layers that all count the same."""
    return np.asarray(np.mean(4.0**-view.widths, axis=1))


def drop_sum(view: View, group: str) -> Array:
    """The points that the group loses with each layer alone, added up."""
    return view.sum(_mean(view, view.lost, group))


def drop_max(view: View, group: str) -> Array:
    """The most that the group loses with one of the layers alone."""
    return np.asarray(view.of_layers(_mean(view, view.lost, group)).max(axis=1))


def survival(view: View, group: str) -> Array:
    """Loss if every layer keeps its own share of a class's accuracy: shares are multiplied."""
    return _lost_from(view, group, np.exp(view.sum(np.log(_kept(view) / _floating(view)))))


def log_odds(view: View, group: str) -> Array:
    """Loss if every layer moves the log-odds of a right prediction of a class by a fixed amount."""

    def logit(share: Array) -> Array:
        return np.log(share) - np.log1p(-share)

    floating = _floating(view)[:, :, 0]
    moved = logit(floating) + view.sum(logit(_kept(view)) - logit(_floating(view)))
    return _lost_from(view, group, 1 / (1 + np.exp(-moved)) / floating)


def added(view: View, group: str, score: str) -> Array:
    """A metric by layer and width, the mean over the group's classes, added up over layers."""
    table = view.score(score)
    return view.sum(table if table.ndim == 2 else _mean(view, table, group))


def ratio_sum(view: View, group: str, score: str) -> Array:
    """What signal-to-noise ratios in dB fall by from the widest width on, added up over layers."""
    table = view.score(score)
    lost = table[..., :1] - table  # the first is the widest: view.bits fall
    return view.sum(lost if lost.ndim == 2 else _mean(view, lost, group))


def noise_sum(view: View, group: str, score: str) -> Array:
    """Noise-to-signal ratios, added up over layers: powers of independent noise add."""
    table = 10 ** (-view.score(score) / 10)
    return view.sum(table if table.ndim == 2 else _mean(view, table, group))


def curvature(view: View, group: str) -> Array:
    """Largest eigenvalue times squared noise (HAWQ; Dong et al., 2019); of all classes."""
    del group
    return view.sum(view.score("eigenvalue")[:, None] * _squared_noise(view))


def gradient_bound(view: View, reducer: str) -> Array:
    """``mean |g| * weights * rms noise``, the size of a first-order change (FairQuant's ``|g|``).

    Layers' importances are reduced over classes by ``max``, ``mean`` or ``cvar``.
    """
    importance = _reduced(view.score("gradient"), reducer)
    size = np.sqrt(view.parameters[:, None] * _squared_noise(view))
    return view.sum(importance[:, None] * size)


def grape(view: View, group: str) -> Array:
    """``sum (g * w) ** 2`` of a layer times its noise-to-signal ratio (FairGRAPE's importance)."""
    importance = view.score("grape")[view.groups[group]].mean(axis=0) * view.parameters
    return view.sum(importance[:, None] * 10 ** (-view.score("sqnr") / 10))


def drops_and_pairs(view: View, group: str) -> Array:
    """Points that each layer loses alone, and what pairs lose beyond the sum of the two."""
    return drop_sum(view, group) + view.sum_pairs(_mean(view, view.score("accuracy_pairs"), group))


def loss_and_pairs(view: View, group: str) -> Array:
    """The same with the increase of the loss: the objective of CLADO (Deng et al., 2025)."""
    pairs = view.sum_pairs(_mean(view, view.score("loss_pairs"), group))
    return added(view, group, "loss") + pairs


def combined(view: View, group: str) -> Array:
    """Mean of the ranks by log-odds and by loss increase: two measurements of the same thing."""
    return _ranks(log_odds(view, group)) + _ranks(added(view, group, "loss"))


def _mean(view: View, table: Array, group: str) -> Array:
    """The mean over a group's classes, (classes, ...) to (...)."""
    return np.asarray(table[view.groups[group]].mean(axis=0))


def _floating(view: View) -> Array:
    """Share right of the float model, (classes, 1, 1), never 0 or 1 (half an image is added)."""
    right = view.accuracy / 100 * view.images
    return np.asarray((right + 0.5) / (view.images + 1))[:, None, None]


def _kept(view: View) -> Array:
    """Share right with one layer rounded, as :func:`_floating`, (classes, layers, W)."""
    images = view.images[:, None, None]
    right = (view.accuracy[:, None, None] - view.lost) / 100 * images
    return np.asarray((right + 0.5) / (images + 1))


def _lost_from(view: View, group: str, kept: Array) -> Array:
    """Points that a group loses if each class keeps a share (classes, M) of its accuracy."""
    return _mean(view, view.accuracy[:, None] * (1 - kept), group)


def _squared_noise(view: View) -> Array:
    """``||Q(w) - w||**2`` of each layer and width: what FIT multiplies the Fisher trace with."""
    return np.asarray(view.score("fit").sum(axis=0) / view.score("fisher").sum(axis=0)[:, None])


def _reduced(importance: Array, reducer: str) -> Array:
    """Over classes, (classes, layers) to (layers,)."""
    if reducer == "cvar":
        return np.array([cvar(column, WORST) for column in importance.T])
    return np.asarray(importance.max(axis=0) if reducer == "max" else importance.mean(axis=0))


def _ranks(values: Array) -> Array:
    return np.argsort(np.argsort(values, kind="stable"), kind="stable").astype(float)


def _of_groups(
    name: str, needs: str, scores: tuple[str, ...], function: Callable[..., Array], **given: str
) -> list[Proxy]:
    """One proxy for all classes and one for the tail."""
    return [
        Proxy(f"{name}, {word}", needs, scores, partial(function, group=group, **given))
        for group, word in (("norm", "all"), ("tail", "tail"))
    ]


PROXIES = (
    Proxy("average weight bits", "sizes", (), average_bits),
    Proxy("BOPs", "sizes", (), bit_operations),
    Proxy("noise of narrow layers", "sizes", (), narrow_layers),
    *_of_groups("accuracy drop, sum", "accuracy", (), drop_sum),
    *_of_groups("accuracy drop, largest", "accuracy", (), drop_max),
    *_of_groups("accuracy kept, product", "accuracy", (), survival),
    *_of_groups("log-odds, sum", "accuracy", (), log_odds),
    Proxy("SQNR of weights", "weights", ("sqnr",), partial(ratio_sum, group="norm", score="sqnr")),
    Proxy("noise of weights", "weights", ("sqnr",), partial(noise_sum, group="norm", score="sqnr")),
    *_of_groups("SQNR of outputs", "outputs", ("output_sqnr",), ratio_sum, score="output_sqnr"),
    *_of_groups("noise of outputs", "outputs", ("output_sqnr",), noise_sum, score="output_sqnr"),
    *_of_groups("loss increase", "outputs", ("loss",), added, score="loss"),
    *_of_groups("KL divergence", "outputs", ("kl",), added, score="kl"),
    *_of_groups("Taylor", "gradients", ("taylor",), added, score="taylor"),
    *_of_groups("FIT", "gradients", ("fit",), added, score="fit"),
    *_of_groups("FairGRAPE", "gradients", ("grape", "sqnr"), grape),
    *(
        Proxy(f"FairQuant, {reducer}", "gradients", ("gradient", "fit", "fisher"),
              partial(gradient_bound, reducer=reducer))
        for reducer in ("mean", "max", "cvar")
    ),
    *_of_groups("HAWQ-v2, trace", "curvature", ("hawq",), added, score="hawq"),
    Proxy("HAWQ, eigenvalue", "curvature", ("eigenvalue", "fit", "fisher"),
          partial(curvature, group="norm")),
    Proxy("LIMPQ", "training", ("learned",), partial(added, group="norm", score="learned")),
    *_of_groups("accuracy drop and pairs", "pairs", ("accuracy_pairs",), drops_and_pairs),
    *_of_groups("CLADO", "pairs", ("loss", "loss_pairs"), loss_and_pairs),
    *_of_groups("log-odds and loss", "outputs", ("loss",), combined),
)  # fmt: skip
