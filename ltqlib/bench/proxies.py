"""Proxies: what predicts the loss of a bit configuration without running it.

A proxy is a function of what was measured on one half of the test images
(:func:`ltqlib.bench.seen`) that returns a number for every configuration, larger where a larger
loss is expected. Only the order counts. To add one::

    @proxy("worst class of the tail")
    def worst_of_tail(seen):
        return added(seen, seen.lost[seen.group == "tail"].max("class"))

Those below need the sizes of layers, outcomes with one layer rounded, or the metrics of
:mod:`ltqlib.sensitivity`, where their sources are named.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from ltqlib.allocation import at_widths, average_weight_bits, bops, cvar, pairs_at_widths
from ltqlib.bench.table import group_mean

Function = Callable[[xr.Dataset], xr.DataArray]

WORST = 0.3  # the share of classes that the CVaR of importances averages, as for allocations
BOTH = ("norm", "tail")
WORDS = {"norm": "all"}


@dataclass(frozen=True)
class Proxy:
    """A proxy and what it needs.

    Args:
        name: what the leaderboard calls it.
        needs: ``sizes``, ``no labels`` (outputs with one layer rounded), ``accuracy`` (the same
            with labels), ``weights``, ``outputs`` (logits with one layer rounded), ``pairs`` (with
            two), ``gradients``, ``curvature`` or ``training``.
        reads: the metrics that must have been measured.
        function: the proxy.
    """

    name: str
    needs: str
    reads: tuple[str, ...]
    function: Function

    def measured(self, view: xr.Dataset) -> bool:
        """Whether all that it reads is there."""
        return all(name in view for name in self.reads)


PROXIES: dict[str, Proxy] = {}  # by name, in the order in which they were added


def proxy(
    name: str, needs: str = "accuracy", reads: Sequence[str] = (), groups: Sequence[str] = ()
) -> Callable[[Callable[..., xr.DataArray]], Callable[..., xr.DataArray]]:
    """Add the decorated function to the proxies that a leaderboard scores.

    Args:
        name: what the leaderboard calls it; one of the same name is replaced.
        needs: what must be measured, in a word; see :class:`Proxy`.
        reads: the metrics that it reads from what was seen; without them it is left out.
        groups: if any, the function takes ``group`` as well, and is one proxy for each.
    """

    def register(function: Callable[..., xr.DataArray]) -> Callable[..., xr.DataArray]:
        for group in groups or ("",):
            title = f"{name}, {WORDS.get(group, group)}" if group else name
            given = partial(function, group=group) if group else function
            PROXIES[title] = Proxy(title, needs, tuple(reads), given)
        return function

    return register


def added(seen: xr.Dataset, table: xr.DataArray) -> xr.DataArray:
    """The sum over layers of a table (..., layer, bits) at each configuration, (configuration,).

    Float layers count 0.
    """
    return at_widths(table.fillna(0), seen.widths).sum("layer")


def added_pairs(seen: xr.Dataset, table: xr.DataArray) -> xr.DataArray:
    """The sum over pairs of a table (..., pair, bits, other_bits); 0 where not measured."""
    return pairs_at_widths(table.fillna(0), seen.widths)


@proxy("average weight bits", needs="sizes")
def average_bits(seen: xr.Dataset) -> xr.DataArray:
    """Fewer bits a weight, averaged over weights: the model size."""
    return -average_weight_bits(seen.widths, seen.parameters)


@proxy("BOPs", needs="sizes")
def bit_operations(seen: xr.Dataset) -> xr.DataArray:
    """Fewer bit operations at equal activation bits."""
    return -bops(seen.widths, seen.macs)


@proxy("noise of narrow layers", needs="sizes")
def narrow_layers(seen: xr.Dataset) -> xr.DataArray:
    """The mean over layers of ``4 ** -bits``: noise of layers that all count the same."""
    return (4.0**-seen.widths).mean("layer")


@proxy("share called tail", needs="no labels")
def share_called_tail(seen: xr.Dataset) -> xr.DataArray:
    """By how much the share of images called tail falls with each layer alone, added up."""
    return added(seen, -seen.called_tail)


@proxy("margin, tail over head", needs="no labels")
def mean_margin(seen: xr.Dataset) -> xr.DataArray:
    """By how much the mean of best tail logit less best head logit falls, added up."""
    return added(seen, -seen.margin)


@proxy("mean logits, tail less head", needs="no labels", reads=("logit_gap",))
def mean_logits(seen: xr.Dataset) -> xr.DataArray:
    """By how much the mean logit of tail classes less that of head classes falls, added up."""
    return added(seen, -seen.logit_gap)


@proxy("accuracy drop, sum", groups=BOTH)
def drop_sum(seen: xr.Dataset, group: str) -> xr.DataArray:
    """The points that the group loses with each layer alone, added up."""
    return added(seen, group_mean(seen, seen.lost, group))


@proxy("accuracy drop, largest", groups=BOTH)
def drop_max(seen: xr.Dataset, group: str) -> xr.DataArray:
    """The most that the group loses with one of the layers alone."""
    return at_widths(group_mean(seen, seen.lost, group), seen.widths).max("layer")


@proxy("tail at equal head, sum")
def curve_sum(seen: xr.Dataset) -> xr.DataArray:
    """The points that the tail loses at equal head accuracy with each layer alone, added up."""
    return added(seen, seen.curve)


@proxy("accuracy kept, product", groups=BOTH)
def survival(seen: xr.Dataset, group: str) -> xr.DataArray:
    """Loss if every layer keeps its own share of a class's accuracy: shares are multiplied."""
    floating, kept = _shares(seen)
    kept_by_all: Any = added(seen, np.log(kept / floating))
    return _lost_from(seen, group, np.exp(kept_by_all))


@proxy("log-odds, sum", groups=BOTH)
def log_odds(seen: xr.Dataset, group: str) -> xr.DataArray:
    """Loss if every layer moves the log-odds of a right prediction of a class by a fixed amount."""

    def logit(share: Any) -> Any:
        return np.log(share) - np.log1p(-share)

    floating, kept = _shares(seen)
    moved = logit(floating) + added(seen, logit(kept) - logit(floating))
    return _lost_from(seen, group, 1 / (1 + np.exp(-moved)) / floating)


def metric_sum(seen: xr.Dataset, group: str, metric: str) -> xr.DataArray:
    """A metric by layer and width, the mean over the group's classes, added up over layers."""
    return added(seen, group_mean(seen, seen[metric], group))


def ratio_sum(seen: xr.Dataset, group: str, metric: str) -> xr.DataArray:
    """What signal-to-noise ratios in dB fall by from the widest width on, added up over layers."""
    table = group_mean(seen, seen[metric], group).dropna("bits", how="all")
    return added(seen, table.sel(bits=int(table.bits.max())) - table)


def noise_sum(seen: xr.Dataset, group: str, metric: str) -> xr.DataArray:
    """Noise-to-signal ratios, added up over layers: powers of independent noise add."""
    return added(seen, group_mean(seen, 10 ** (-seen[metric] / 10), group))


for _name, _needs, _metric, _function, _groups in (
    ("SQNR of weights", "weights", "sqnr", ratio_sum, ()),
    ("noise of weights", "weights", "sqnr", noise_sum, ()),
    ("SQNR of outputs", "outputs", "output_sqnr", ratio_sum, BOTH),
    ("noise of outputs", "outputs", "output_sqnr", noise_sum, BOTH),
    ("loss increase", "outputs", "loss", metric_sum, BOTH),
    ("KL divergence", "outputs", "kl", metric_sum, BOTH),
    ("Taylor", "gradients", "taylor", metric_sum, BOTH),
    ("FIT", "gradients", "fit", metric_sum, BOTH),
    ("HAWQ-v2, trace", "curvature", "hawq", metric_sum, BOTH),
    ("LIMPQ", "training", "learned", metric_sum, ()),
):
    _whole: dict[str, Any] = {} if _groups else {"group": "norm"}
    proxy(_name, _needs, (_metric,), _groups)(partial(_function, metric=_metric, **_whole))


@proxy("FairGRAPE", needs="gradients", reads=("grape", "sqnr"), groups=BOTH)
def grape(seen: xr.Dataset, group: str) -> xr.DataArray:
    """``sum (g * w) ** 2`` of a layer times its noise-to-signal ratio (FairGRAPE's importance)."""
    importance = group_mean(seen, seen.grape, group) * seen.parameters
    return added(seen, importance * 10 ** (-seen.sqnr / 10))


def gradient_bound(seen: xr.Dataset, reducer: str) -> xr.DataArray:
    """``mean |g| * weights * rms noise``, the size of a first-order change (FairQuant's ``|g|``).

    Layers' importances are reduced over classes by ``max``, ``mean`` or ``cvar``.
    """
    if reducer == "cvar":
        each = seen.gradient.transpose("class", "layer")
        importance = each[0].copy(data=cvar(each.values, WORST))
    else:
        importance = getattr(seen.gradient, reducer)("class")
    return added(seen, importance * np.sqrt(seen.parameters * _squared_noise(seen)))


for _reducer in ("mean", "max", "cvar"):
    _bound = partial(gradient_bound, reducer=_reducer)
    proxy(f"FairQuant, {_reducer}", "gradients", ("gradient", "fit", "fisher"))(_bound)


@proxy("HAWQ, eigenvalue", needs="curvature", reads=("eigenvalue", "fit", "fisher"))
def curvature(seen: xr.Dataset) -> xr.DataArray:
    """Largest eigenvalue times squared noise (HAWQ; Dong et al., 2019); of all classes."""
    return added(seen, seen.eigenvalue * _squared_noise(seen))


@proxy("accuracy drop and pairs", needs="pairs", reads=("accuracy_pairs",), groups=BOTH)
def drops_and_pairs(seen: xr.Dataset, group: str) -> xr.DataArray:
    """Points that each layer loses alone, and what pairs lose beyond the sum of the two."""
    pairs = group_mean(seen, seen.accuracy_pairs, group)
    return drop_sum(seen, group) + added_pairs(seen, pairs)


@proxy("CLADO", needs="pairs", reads=("loss", "loss_pairs"), groups=BOTH)
def loss_and_pairs(seen: xr.Dataset, group: str) -> xr.DataArray:
    """The same with the increase of the loss: the objective of CLADO (Deng et al., 2025)."""
    pairs = added_pairs(seen, group_mean(seen, seen.loss_pairs, group))
    return metric_sum(seen, group, "loss") + pairs


@proxy("log-odds and loss", needs="outputs", reads=("loss",), groups=BOTH)
def combined(seen: xr.Dataset, group: str) -> xr.DataArray:
    """Mean of the ranks by log-odds and by loss increase: two measurements of the same thing."""
    both = (log_odds(seen, group), metric_sum(seen, group, "loss"))
    ranks = [np.argsort(np.argsort(each.values, kind="stable"), kind="stable") for each in both]
    return both[0].copy(data=(ranks[0] + ranks[1]) / 2)


def _shares(seen: xr.Dataset) -> tuple[Any, Any]:
    """Shares right of the float model (class,) and with one layer rounded (class, layer, bits).

    Never 0 or 1: half an image is added to both sides.
    """
    shares = [
        (accuracy / 100 * seen.images + 0.5) / (seen.images + 1)
        for accuracy in (seen.accuracy, seen.accuracy - seen.lost)
    ]
    return shares[0], shares[1]


def _lost_from(seen: xr.Dataset, group: str, kept: xr.DataArray) -> xr.DataArray:
    """Points that a group loses if each class keeps a share of its accuracy."""
    return group_mean(seen, seen.accuracy * (1 - kept), group)


def _squared_noise(seen: xr.Dataset) -> xr.DataArray:
    """``||Q(w) - w||**2`` of each layer and width: what FIT multiplies the Fisher trace with."""
    return seen.fit.sum("class", skipna=False) / seen.fisher.sum("class")
