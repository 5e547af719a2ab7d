"""What a repair without labels gives back: chosen on images of one half, judged on the other."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy import optimize

from ltqlib.errors import InputError
from ltqlib.statistics.estimate import By, Estimates, estimate
from ltqlib.statistics.operating import FLOAT, halves_of
from ltqlib.statistics.repair import match_shares

Match = Callable[[npt.NDArray, npt.NDArray], Any]
FARTHEST = 100.0  # shares of a loss, in either direction: farther ends of an interval are infinite


def repair(
    logits: xr.DataArray,
    reference: Mapping[str, Any] | None = None,
    *,
    match: Match = match_shares,
    images: int = 1000,
    draws: int = 20,
    counts: Sequence[int] | None = None,
    unlabelled: xr.DataArray | None = None,
    seed: int = 0,
) -> xr.DataArray:
    """Right or wrong of each image after a repair of the logits, mean over draws of images.

    ``images`` are drawn from one half of the images, without their labels; ``match`` compares the
    quantized with the float logits of these and says what to add to the former; the other half is
    judged. Then the halves swap.

    Args:
        logits: (..., image, class) with the coordinates ``label`` and ``half`` on image, as
            :func:`ltqlib.logits` returns them.
        reference: which of them is the float model; left out, ``{"bits": 32}``.
        match: (quantized, float) logits (N, C) -> offsets (C,), or a weight (C, C) and a bias (C,)
            applied to the logits, such as :func:`ltqlib.statistics.fit_last_layer`.
        images: N, how many unlabelled images.
        draws: how often they are drawn; intervals do not know of the draw, which 20 make small.
        counts: (C,); where given, classes are drawn in proportion to them (a long-tailed mix). The
            draw looks at labels then; the repair never does.
        unlabelled: logits of the same models on other images, to draw from instead of the half
            that is not judged; ``label`` is read only where ``counts`` are given.
        seed: of the draws.

    Returns:
        float64 (..., image), from 0 to 1, without the reference.

    Raises:
        InputError: a coordinate is missing, or fewer images are there than are to be drawn.
    """
    kept: dict[str, Any] = {"match": match, "images": images, "counts": counts}
    kept["unlabelled"] = unlabelled
    if not isinstance(logits, xr.DataArray) or not {"label", "half"} <= set(logits.coords):
        raise InputError("repair takes logits with labels and halves, as ltq.logits returns them")
    if logits.dtype.kind != "f":
        raise InputError(f"repair takes logits in floating point, not {logits.dtype}")
    each = [repaired_logits(logits, reference, seed=seed + n, **kept) for n in range(draws)]
    right = sum((found.argmax("class") == found["label"]).astype(float) for found in each)
    return (right / draws).assign_attrs(logits.attrs)  # type: ignore[union-attr]


def repaired_logits(
    logits: xr.DataArray,
    reference: Mapping[str, Any] | None = None,
    *,
    match: Match = match_shares,
    images: int = 1000,
    counts: Sequence[int] | None = None,
    unlabelled: xr.DataArray | None = None,
    seed: int = 0,
) -> xr.DataArray:
    """The logits after one repair, without the reference's. Args, Raises: as :func:`repair`."""
    known = FLOAT if reference is None else dict(reference)
    others, _ = _against(logits, known)
    halves = halves_of(logits.to_dataset(name="logits"))
    source = logits if unlabelled is None else unlabelled
    seen, full = (each.rename(image="drawn") for each in _against(source, known))
    there = {
        name: ~judged if unlabelled is None else np.ones(source.sizes["image"], bool)
        for name, judged in halves.items()
    }
    labels = source["label"].values if "label" in source.coords else np.zeros(0)
    drawn = {name: _draw(labels, mask, images, counts, seed) for name, mask in there.items()}

    def one(
        quantized: npt.NDArray, seen: npt.NDArray, full: npt.NDArray
    ) -> npt.NDArray[np.float64]:
        found = np.empty(quantized.shape)
        for name, judged in halves.items():
            chosen = drawn[name]
            found[judged] = _applied(quantized[judged], match(seen[chosen], full[chosen]))
        return found

    found = xr.apply_ufunc(
        one,
        others,
        seen.drop_vars([name for name, c in seen.coords.items() if "drawn" in c.dims]),
        full.drop_vars([name for name, c in full.coords.items() if "drawn" in c.dims]),
        input_core_dims=[["image", "class"], ["drawn", "class"], ["drawn", "class"]],
        output_core_dims=[["image", "class"]],
        vectorize=True,
    )
    return found.assign_attrs(logits.attrs)


def recovered(before: xr.DataArray, after: xr.DataArray, by: By = "group") -> Estimates:
    """The share of a loss that a remedy gives back, percent, with Fieller's (1954) interval.

    The share is ``r = 1 - after / before``. Its interval are all r for which the interval of
    ``after - (1 - r) * before``, paired over seeds and images, holds 0.

    Args:
        before, after: loss of each image (float less quantized), dimensions image and, where there
            are several, seed.
        by: as :func:`ltqlib.estimate`.

    Returns:
        a row for each group; no interval where the loss before cannot be told from 0.
    """
    plain, left = estimate(before, by), estimate(after, by)
    table = plain.copy()
    for at, name in enumerate(plain.index):

        def end(share: float, column: str, at: int = at) -> float:
            return float(estimate(after - (1 - share) * before, by)[column].iloc[at])

        value = 1 - left["value"].iloc[at] / plain["value"].iloc[at]
        known = plain["low"].iloc[at] > 0
        reach = [optimize.brentq(end, value - FARTHEST, value, ("high",), 1e-6),
                 optimize.brentq(end, value, value + FARTHEST, ("low",), 1e-6)
                ] if known else [np.nan, np.nan]  # fmt: skip
        table.loc[name, ["value", "low", "high", "p", "sd"]] = [
            *(100 * np.array([value, *reach])), np.nan, np.nan,
        ]  # fmt: skip
    table.attrs = {**plain.attrs, "unit": "Percent of the loss"}
    return table


def _against(logits: xr.DataArray, known: Mapping[str, Any]) -> tuple[xr.DataArray, xr.DataArray]:
    """The logits without the reference's, and the reference's."""
    (dim,) = known
    others = [value for value in logits[dim].values if value != known[dim]]
    return logits.sel({dim: others}), logits.sel(known, drop=True)


def _draw(
    labels: npt.NDArray,
    among: npt.NDArray[np.bool_],
    images: int,
    counts: Sequence[int] | None,
    seed: int,
) -> npt.NDArray[np.int64]:
    """Positions of unlabelled images, without repetition."""
    there = np.flatnonzero(among)
    if images > len(there):
        raise InputError(f"{images} images cannot be drawn from {len(there)}")
    generator = np.random.default_rng(seed)
    if counts is None:
        return generator.permutation(there)[:images]
    share = np.asarray(counts, float) / np.sum(counts)
    wanted = np.maximum(1, np.round(share * images)).astype(int)
    mine = [generator.permutation(there[labels[there] == c])[:n] for c, n in enumerate(wanted)]
    return np.concatenate(mine)


def _applied(logits: npt.NDArray, found: Any) -> npt.NDArray:
    if isinstance(found, tuple):
        weight, bias = found
        return logits @ np.asarray(weight).T + bias
    return logits + found
