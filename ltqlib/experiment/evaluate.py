"""``evaluate`` and ``sensitivity``: labelled outcomes of networks under bit configurations."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from ltqlib.config import brief
from ltqlib.data import Split
from ltqlib.data.halves import HALVES, half_mask
from ltqlib.errors import InputError
from ltqlib.experiment.networks import Networks
from ltqlib.experiment.outcomes import FLOAT, Row, logits_of, outcomes_of
from ltqlib.experiment.trained import Trained

WIDTHS = (32, 8, 6, 5, 4, 3, 2)
METHOD = "w-tensor"  # weights alone, one symmetric min-max grid a tensor

Widths = Mapping[str, int] | xr.DataArray | int
Models = Networks | Mapping[str, Networks]


def evaluate(
    networks: Models,
    on: Split | None = None,
    bits: Iterable[int] | Mapping[str, Widths] | Widths = WIDTHS,
    method: str | Sequence[str] = METHOD,
) -> xr.Dataset:
    """Outcomes of networks on images, at uniform widths or under mixed precision.

    Args:
        networks: those of one configuration, or several by name (dimension ``model``).
        on: the test images or a half of them; left out, all test images of the networks' data.
        bits: widths for all layers alike (dimension ``bits``; 32 is the float model); or mixed
            precision by name (dimension ``configuration``): ``{layer: bits}``, where layers that
            are not named stay float, or widths with the dimensions layer and, where each seed has
            its own, seed, as ``allocate`` returns them. One more dimension, such as ``draw`` of
            ``random_widths``, is one of the outcomes as well.
        method: how layers are quantized; several become the dimension ``method``.

    Returns:
        ``right``, ``predicted``, ``best_head``, ``best_tail`` and ``margin`` (best tail logit less
        best head logit) of each image, with the dimensions model, method, seed, bits (or
        configuration) and image, as far as there are several; seed is always there. A seed that
        another model has is NaN. Coordinates of an image: ``label``, ``group`` and ``half``.

    Raises:
        InputError: unknown layers or widths, networks that were tested on different images.
    """
    if isinstance(networks, Mapping):
        each = {name: evaluate(those, on, bits, method) for name, those in networks.items()}
        return along("model", each)
    if not isinstance(method, str):
        return along("method", {n: evaluate(networks, on, bits, n) for n in _methods(method)})
    if isinstance(bits, xr.DataArray) and (more := set(bits.dims) - {"seed", "layer"}):
        return _each_of(networks, on, bits, str(min(map(str, more))), method)
    by_seed = {trained.config.seed: _of_one(trained, on, bits, method) for trained in networks}
    return along("seed", by_seed)


def sensitivity(
    networks: Models,
    on: Split | None = None,
    bits: Iterable[int] = (6, 4),
    method: str | Sequence[str] = METHOD,
) -> xr.Dataset:
    """Outcomes with one layer quantized and all others float.

    Args and errors as :func:`evaluate`.

    Returns:
        as :func:`evaluate`, with a dimension ``layer`` before ``bits``, whose first entry is the
        float model (32). Coordinates of a layer: ``parameters`` and ``macs``.
    """
    if isinstance(networks, Mapping):
        each = {name: sensitivity(those, on, bits, method) for name, those in networks.items()}
        return along("model", each)
    if not isinstance(method, str):
        return along("method", {n: sensitivity(networks, on, bits, n) for n in _methods(method)})
    if not isinstance(bits, Iterable):
        raise InputError(f"bits={brief(bits)}: give a list of widths, such as [6, 4]")
    widths = list(dict.fromkeys([FLOAT, *bits]))
    by_seed = {t.config.seed: _one_layer(t, on, widths, method) for t in networks}
    costs = networks.layers
    found = along("seed", by_seed)
    return found.assign_coords(
        {
            name: ("layer", [cost[name] for cost in costs.values()])
            for name in ("parameters", "macs")
        }
    )


def _methods(names: Any) -> list[str]:
    """Names of several methods."""
    if not isinstance(names, Sequence) or not names or not all(isinstance(n, str) for n in names):
        raise InputError(f"method={brief(names)}: give the name of a method, or several")
    return list(names)


def _each_of(
    networks: Networks, on: Split | None, bits: xr.DataArray, dim: str, method: str
) -> xr.Dataset:
    """Outcomes along a dimension of the widths; all of them are computed in one call."""
    labels = bits[dim].values.tolist()
    named = {str(label): bits.isel({dim: place}) for place, label in enumerate(labels)}
    found = evaluate(networks, on, named, method)
    return found.rename(configuration=dim).assign_coords({dim: labels})


def _of_one(trained: Trained, on: Split | None, bits: Any, method: str) -> xr.Dataset:
    """Outcomes of one network, with the dimension bits or configuration."""
    if isinstance(bits, int | xr.DataArray) or _is_widths(bits):
        bits = {"": bits}
    named = isinstance(bits, Mapping)
    names = list(bits) if named else list(dict.fromkeys(int(width) for width in bits))
    rows = [_row(trained, bits[name] if named else name) for name in names]
    found = _asked(trained, rows, on, method)
    if names == [""]:
        return found.isel(configuration=0)
    if named:
        return found.assign_coords(configuration=names)
    return found.rename(configuration="bits").assign_coords(bits=names)


def _is_widths(bits: Any) -> bool:
    return isinstance(bits, Mapping) and all(isinstance(value, int) for value in bits.values())


def _one_layer(
    trained: Trained, on: Split | None, widths: Sequence[int], method: str
) -> xr.Dataset:
    layers = list(trained.layers)
    rows = [_row(trained, {layer: width}) for layer in layers for width in widths]
    found = _asked(trained, rows, on, method)
    index = {"layer": layers, "bits": list(widths)}
    shaped = {
        name: (
            ("layer", "bits", "image"),
            value.transpose("configuration", "image").values.reshape(len(layers), len(widths), -1),
        )
        for name, value in found.data_vars.items()
    }
    coords = {name: found[name] for name in ("label", "group", "half")}
    return xr.Dataset(shaped, {**index, **coords}, found.attrs)


def _row(trained: Trained, widths: Widths) -> Row:
    """The width of every layer, in order."""
    layers = list(trained.layers)
    if isinstance(widths, int | np.integer):
        return (int(widths),) * len(layers)
    if isinstance(widths, xr.DataArray):
        if "seed" in widths.dims:
            if trained.config.seed not in widths["seed"].values:
                raise InputError(f"the widths have no seed {trained.config.seed}: allocate for it")
            widths = widths.sel(seed=trained.config.seed)
        if widths.dims != ("layer",):
            raise InputError(
                f"widths have the dimensions {', '.join(map(str, widths.dims))}: give layer, seed "
                "where each has its own, and at most one more"
            )
        widths = dict(zip(widths["layer"].values.tolist(), widths.values.tolist(), strict=True))
    if unknown := [name for name in widths if name not in layers]:
        raise InputError(f"bits name a layer {unknown[0]!r}: the layers are {', '.join(layers)}")
    return tuple(int(widths.get(layer, FLOAT)) for layer in layers)


def logits(
    networks: Networks, on: Split | None = None, bits: Iterable[int] = (32, 4), method: str = METHOD
) -> xr.DataArray:
    """Logits (seed, bits, image, class) at uniform widths, to a 64th: for repairs of the output.

    Args, Raises: as :func:`evaluate`.
    """
    widths = list(dict.fromkeys(int(width) for width in bits))
    each = {}
    for trained in networks:
        rows = [_row(trained, width) for width in widths]
        split, half = _whole(trained, on)
        found = described(logits_of(trained, rows, split, method), trained, half)
        each[trained.config.seed] = found.rename(configuration="bits").assign_coords(bits=widths)
    found = along("seed", each)
    classes = list(range(found.sizes["class"]))
    array = found["logits"].assign_coords({"class": classes}).assign_attrs(found.attrs)
    return array.transpose("seed", "bits", "image", "class")


def _asked(trained: Trained, rows: Sequence[Row], on: Split | None, method: str) -> xr.Dataset:
    """Outcomes of the rows, on the images asked for, with what is known of the images."""
    split, half = _whole(trained, on)
    found = outcomes_of(trained, rows, split, method)
    # int8, not bool: outcomes are there to be subtracted
    found["right"] = (found["predicted"] == found["label"]).astype("int8")
    return described(found, trained, half).transpose("configuration", "image")


def _whole(trained: Trained, on: Split | None) -> tuple[Split, str | None]:
    """The images to evaluate, and which half of them is asked for.

    Halves of the test images are evaluated together, so that both share what is remembered.
    """
    test = trained.data.test
    if on is None:
        return test, None
    if on.identity.split("/")[:2] == test.identity.split("/")[:2]:
        return test, on.half
    return on, None


def described(found: xr.Dataset, trained: Trained, half: str | None = None) -> xr.Dataset:
    """With group and half of each image, and what the data are; one half of the images."""
    labels = found["label"].values.astype(np.int64)
    data = trained.data
    found = found.drop_vars(["widths", "layer"], errors="ignore").assign_coords(
        group=("image", np.array(data.test.group_of_class)[labels]),
        half=("image", np.where(half_mask(labels), *HALVES)),
    )
    found.attrs = {"classes": list(data.classes), "counts": list(data.counts)}
    return found.isel(image=np.flatnonzero(found["half"].values == half)) if half else found


def along(dim: str, each: Mapping[Any, xr.Dataset]) -> xr.Dataset:
    """One after the other along a new dimension, where all have the same images.

    Seeds that one has and another lacks are NaN there: not measured.
    """
    datasets = list(each.values())
    first = datasets[0]
    if any(not np.array_equal(first["label"], other["label"]) for other in datasets):
        raise InputError(f"the images differ along {dim}: evaluate on the same ones")
    joined = xr.concat(
        datasets, dim, coords="minimal", compat="override", combine_attrs="override", join="outer"
    )
    return joined.assign_coords({dim: list(each)})
