"""What two layers lose together beyond the sum of what each loses alone.

The interaction of layers i and j at widths a and b is (CLADO; Deng et al., 2025)::

    e = L(i at a, j at b) - L(i at a) - L(j at b) + L(none)

Above 0 the two lose more together than each alone; at 0 losses add up. Interactions are arrays
(..., pair, bits, other_bits) with the coordinates ``first`` and ``second``, the layers of a pair.
"""

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import xarray as xr

from ltqlib.allocation.losses import FLOAT, Table
from ltqlib.errors import InputError


def pair_widths(layers: Sequence[str], bits: Sequence[int]) -> xr.DataArray:
    """The configurations that interactions are measured with, weight bits (configuration, layer).

    In order: float; each layer alone, at each width; each pair of layers, at each pair of widths.

    Raises:
        InputError: there are fewer than two layers, or no width.
    """
    if len(layers) < 2 or not bits:
        raise InputError(f"{len(layers)} layers at {len(bits)} widths have no pair: give 2 and 1")
    rows = [np.full(len(layers), FLOAT)]
    for size in (1, 2):
        for members in itertools.combinations(range(len(layers)), size):
            for chosen in itertools.product(bits, repeat=size):
                row = np.full(len(layers), FLOAT)
                row[list(members)] = chosen
                rows.append(row)
    return xr.DataArray(np.stack(rows), {"layer": list(layers)}, ["configuration", "layer"])


def interactions(values: xr.DataArray, widths: xr.DataArray) -> xr.DataArray:
    """Interactions (..., pair, bits, other_bits) of losses (..., configuration).

    Args:
        values: losses of any kind: means by class, or of single images.
        widths: weight bits (configuration, layer), as :func:`pair_widths` gives them, in any order.

    Raises:
        InputError: the float model, a single layer or a pair is missing.
    """
    layers, rows = widths.layer.values.tolist(), widths.transpose("configuration", "layer").values
    place = {tuple(row): number for number, row in enumerate(rows.tolist())}
    bits = sorted(set(rows.ravel().tolist()) - {FLOAT}, reverse=True)
    pairs = list(itertools.combinations(range(len(layers)), 2))

    def at(chosen: dict[int, int]) -> int:
        row = tuple(chosen.get(layer, FLOAT) for layer in range(len(layers)))
        if row not in place:
            words = ", ".join(f"{layers[k]} at {b}" for k, b in chosen.items()) or "no layer"
            raise InputError(f"no configuration has {words} bits and the rest float: measure it")
        return place[row]

    grid = [(i, j, a, b) for (i, j), a, b in itertools.product(pairs, bits, bits)]
    alone = {(i, a): at({i: a}) for i, a in itertools.product(range(len(layers)), bits)}
    both = [at({i: a, j: b}) for i, j, a, b in grid]
    first, second = [alone[i, a] for i, _, a, _ in grid], [alone[j, b] for _, j, _, b in grid]
    each = values.transpose(..., "configuration").values
    found = each[..., both] - each[..., first] - each[..., second] + each[..., [at({})]]
    rest = [name for name in values.dims if name != "configuration"]
    kept = {n: c for n, c in values.coords.items() if "configuration" not in c.dims}
    return xr.DataArray(
        found.reshape(*found.shape[:-1], len(pairs), len(bits), len(bits)),
        {
            **kept,
            "first": ("pair", [layers[i] for i, _ in pairs]),
            "second": ("pair", [layers[j] for _, j in pairs]),
            "bits": bits,
            "other_bits": bits,
        },
        [*rest, "pair", "bits", "other_bits"],
    )


def pair_losses(outcomes: xr.Dataset, widths: xr.DataArray, shrink: bool = False) -> xr.DataArray:
    """Points of accuracy that pairs of layers lose beyond the sum, for each class.

    Args:
        outcomes: ``right`` (configuration, image) with ``label`` on image.
        widths: weight bits (configuration, layer), see :func:`pair_widths`.
        shrink: times the share of the mean square that is no noise of the images, for each class
            and pair of widths (the empirical Bayes estimate of interactions around 0).

    Returns:
        (class, pair, bits, other_bits).

    Raises:
        InputError: a configuration is missing, or a class has fewer than two images.
    """
    wrong = 1 - outcomes["right"].astype(np.int8).transpose("image", "configuration")
    each = interactions(wrong, widths).groupby("label")
    images = outcomes["label"].groupby("label").count()
    if (images < 2).any():
        label = int(images.idxmin())
        raise InputError(f"class {label} has one image: give two or more of every class")
    found = (100 * each.mean("image")).rename(label="class")
    if shrink:
        noise = (1e4 * each.var("image", ddof=1) / images).rename(label="class").mean("pair")
        square = (found**2).mean("pair")
        found = found * (1 - noise / square.where(square > 0, 1)).clip(0, 1)
    return found.transpose("class", "pair", "bits", "other_bits")


def pair_table(found: xr.DataArray, losses: xr.DataArray) -> Table:
    """Interactions (classes, pairs, widths, widths) in the order of some losses.

    Pairs in the order of ``itertools.combinations``; 0 where a pair or a width was not measured.

    Raises:
        InputError: other classes, layers that are not there, or a value that is not finite.
    """
    layers, bits = losses.layer.values.tolist(), losses.bits.values.tolist()
    if found["class"].values.tolist() != losses["class"].values.tolist():
        raise InputError(
            "the interactions are of other classes than the losses: measure both alike"
        )
    if not np.isfinite(found).all():
        raise InputError("the interactions hold a value that is not finite: measure it again")
    table = found.reindex(bits=bits, other_bits=bits, fill_value=0)
    values = table.transpose("class", "pair", "bits", "other_bits").values
    pairs = list(itertools.combinations(range(len(layers)), 2))
    total = np.zeros((len(values), len(pairs), len(bits), len(bits)))
    for number, ends in enumerate(zip(found["first"].values, found["second"].values, strict=True)):
        if unknown := [name for name in ends if name not in layers]:
            raise InputError(f"the interactions name layer {unknown[0]}, the losses do not")
        i, j = (layers.index(name) for name in ends)
        both: npt.NDArray[np.float64] = values[:, number]
        both = both if i < j else both.swapaxes(1, 2)
        total[:, pairs.index((min(i, j), max(i, j)))] = both
    return total
