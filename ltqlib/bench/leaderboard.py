"""The leaderboard: every proxy on several networks."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy import stats

from ltqlib.bench.proxies import PROXIES, Proxy
from ltqlib.bench.table import HALVES, TARGETS, lost, seen
from ltqlib.errors import InputError

DIGITS = 11  # of a prediction that count, relative to the largest
DRAWS = 200

Array = npt.NDArray[np.float64]


def leaderboard(tables: Mapping[int, xr.Dataset], draws: int = DRAWS) -> xr.DataArray:
    """Rank correlation of every proxy with the true losses of the random configurations.

    Args:
        tables: of networks, by seed, as :func:`ltqlib.bench.tabulate` or ``with_metrics`` returns
            them, all with the same configurations.
        draws: bootstrap samples of prefixes: configurations that share one are drawn together.

    Returns:
        (draw, seed, proxy, group), for :func:`ltqlib.bench.summary`; group is the tail, as it is
        and at equal head accuracy.

    Raises:
        InputError: a proxy reads what was not measured, or gives something else than one finite
            number a configuration.
    """
    each = [_of_one(table, draws) for table in tables.values()]
    return xr.concat(each, "seed").assign_coords(seed=list(tables))


def _of_one(table: xr.Dataset, draws: int) -> xr.DataArray:
    """(draw, proxy, group) of one network."""
    random = table.family.values == "random"
    sample = samples_of(table.cluster.values[random], draws)
    views = {half: seen(table, half) for half in HALVES}
    truth = {
        (target, half): _ranked(lost(table, target, half).values[random][sample])
        for target in TARGETS
        for half in HALVES
    }
    found = {}
    for name, proxy in PROXIES.items():
        told = {half: _ranked(predictions(proxy, views[half])[sample]) for half in HALVES}
        pairs = (HALVES, HALVES[::-1])
        found[name] = [
            np.mean([(told[a] * truth[target, b]).sum(-1) for a, b in pairs], axis=0)
            for target in TARGETS
        ]
    coords = {"proxy": list(found), "group": list(TARGETS)}
    values = np.array(list(found.values()))
    return xr.DataArray(values, coords, ("proxy", "group", "draw")).transpose("draw", ...)


def samples_of(cluster: npt.NDArray, draws: int, seed: int = 0) -> npt.NDArray[np.intp]:
    """Places of the configurations in bootstrap samples of clusters, (1 + draws, M).

    All clusters are of one size; the first sample is the configurations as they are.
    """
    members = np.array([np.flatnonzero(cluster == each) for each in np.unique(cluster)])
    drawn = np.random.default_rng(seed).integers(0, len(members), (draws, len(members)))
    return np.vstack([np.arange(members.size), members[drawn].reshape(draws, -1)])


def predictions(proxy: Proxy, view: xr.Dataset) -> Array:
    """What a proxy says of every configuration, (M,), relative to the largest."""
    try:
        values = np.asarray(proxy.function(view), dtype=float)
    except (AttributeError, KeyError) as error:
        what = str(error).splitlines()[0]
        raise InputError(
            f"proxy {proxy.name!r} reads what was not measured ({what}): add it with_metrics"
        ) from error
    count = view.sizes["configuration"]
    if values.shape != (count,) or not np.isfinite(values).all():
        raise InputError(
            f"proxy {proxy.name!r} gave shape {values.shape}, or a value that is not finite: "
            f"return one number for each of the {count} configurations"
        )
    # what sums leave in the last digits is no difference: equal values are equal
    return np.round(values / (np.abs(values).max() or 1.0), DIGITS)


def _ranked(values: Array) -> Array:
    """Midranks along the last axis, centred, of length 1; 0 where all are equal."""
    ranks = stats.rankdata(values, axis=-1)
    ranks -= ranks.mean(axis=-1, keepdims=True)
    length = np.sqrt((ranks**2).sum(axis=-1, keepdims=True))
    return ranks / np.where(length > 0, length, 1.0)
