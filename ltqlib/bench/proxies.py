"""Proxies: what predicts the loss of a bit configuration without running it.

A proxy is a function of what was measured on one half of the test images
(:func:`ltqlib.bench.seen`) that returns a number for every configuration, larger where a larger
loss is expected. Only the order counts. To add one::

    @proxy("worst class of the tail")
    def worst_of_tail(seen):
        return added(seen, seen.lost[seen.group == "tail"].max("class"))

Those below need the sizes of layers, outcomes with one layer rounded, or the metrics of
:mod:`ltqlib.importance`, where their sources are named.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import xarray as xr

from ltqlib.allocation import at_widths, average_weight_bits, bops
from ltqlib.bench.table import group_mean

Function = Callable[[xr.Dataset], xr.DataArray]

BOTH = ("norm", "tail")
WORDS = {"norm": "all"}


@dataclass(frozen=True)
class Proxy:
    """A proxy and what it needs.

    Args:
        name: what the leaderboard calls it.
        needs: ``sizes``, ``weights``, ``no labels`` (outputs with one layer rounded), ``labels``
            (the same with labels), ``gradients`` or ``curvature``.
        function: the proxy.
    """

    name: str
    needs: str
    function: Function


PROXIES: dict[str, Proxy] = {}  # by name, in the order in which they were added


def proxy(
    name: str, needs: str = "labels", groups: Sequence[str] = ()
) -> Callable[[Callable[..., xr.DataArray]], Callable[..., xr.DataArray]]:
    """Add the decorated function to the proxies that a leaderboard scores.

    Args:
        name: what the leaderboard calls it; one of the same name is replaced.
        needs: what must be measured, in a word; see :class:`Proxy`.
        groups: if any, the function takes ``group`` as well, and is one proxy for each.
    """

    def register(function: Callable[..., xr.DataArray]) -> Callable[..., xr.DataArray]:
        for group in groups or ("",):
            title = f"{name}, {WORDS.get(group, group)}" if group else name
            given = partial(function, group=group) if group else function
            PROXIES[title] = Proxy(title, needs, given)
        return function

    return register


def added(seen: xr.Dataset, table: xr.DataArray) -> xr.DataArray:
    """The sum over layers of a table (..., layer, bits) at each configuration, (configuration,).

    Float layers count 0.
    """
    return at_widths(table.fillna(0), seen.widths).sum("layer")


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


@proxy("mean logits, tail less head", needs="no labels")
def mean_logits(seen: xr.Dataset) -> xr.DataArray:
    """By how much the mean logit of tail classes less that of head classes falls, added up."""
    return added(seen, -seen.logit_gap)


@proxy("accuracy drop", groups=BOTH)
def drop_sum(seen: xr.Dataset, group: str) -> xr.DataArray:
    """The points that the group loses with each layer alone, added up: the post's sensitivity."""
    return added(seen, group_mean(seen, seen.lost, group))


@proxy("tail at equal head")
def curve_sum(seen: xr.Dataset) -> xr.DataArray:
    """The points that the tail loses at equal head accuracy with each layer alone, added up."""
    return added(seen, seen.curve)


def metric_sum(seen: xr.Dataset, group: str, metric: str) -> xr.DataArray:
    """A metric by layer and width, the mean over the group's classes, added up over layers."""
    return added(seen, group_mean(seen, seen[metric], group))


def noise_sum(seen: xr.Dataset, group: str, metric: str) -> xr.DataArray:
    """Noise-to-signal ratios, added up over layers: powers of independent noise add."""
    return added(seen, group_mean(seen, 10 ** (-seen[metric] / 10), group))


for _name, _needs, _metric, _function in (
    ("noise of outputs (SQNR)", "no labels", "output_sqnr", noise_sum),
    ("KL divergence", "no labels", "kl", metric_sum),
    ("loss increase", "labels", "loss", metric_sum),
    ("Taylor", "gradients", "taylor", metric_sum),
    ("FIT", "gradients", "fit", metric_sum),
    ("HAWQ-v2, trace", "curvature", "hawq", metric_sum),
):
    for _group in BOTH:  # which images are of the tail is a label
        _uses = "labels" if (_needs, _group) == ("no labels", "tail") else _needs
        proxy(_name, _uses, [_group])(partial(_function, metric=_metric))
proxy("noise of weights (SQNR)", "weights")(partial(noise_sum, metric="sqnr", group="norm"))
