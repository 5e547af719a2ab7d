"""What a repair without labels gives back: chosen on images of one half, judged on the other."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from ltqlib.errors import InputError
from ltqlib.statistics.operating import halves_of
from ltqlib.statistics.repair import match_shares

Match = Callable[[npt.NDArray, npt.NDArray], Any]


def repair(
    logits: xr.DataArray,
    reference: Mapping[str, Any] | None = None,
    *,
    match: Match = match_shares,
    images: int = 1000,
    draws: int = 20,
    counts: Sequence[int] | None = None,
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
        seed: of the draws.

    Returns:
        float64 (..., image), from 0 to 1, without the reference.

    Raises:
        InputError: a coordinate is missing, or a half has fewer images than are to be drawn.
    """
    known = {"bits": 32} if reference is None else dict(reference)
    floating = logits.sel(known, drop=True)
    (dim,) = known
    others = logits.sel({dim: [value for value in logits[dim].values if value != known[dim]]})
    labels, halves = logits["label"].values, halves_of(logits.to_dataset(name="logits"))
    drawn = {
        name: [_draw(labels, ~judged, images, counts, seed + n) for n in range(draws)]
        for name, judged in halves.items()
    }

    def one(quantized: npt.NDArray, full: npt.NDArray) -> npt.NDArray[np.float64]:
        right = np.zeros(len(labels))
        for name, judged in halves.items():
            for chosen in drawn[name]:
                found = _applied(quantized[judged], match(quantized[chosen], full[chosen]))
                right[judged] += found.argmax(1) == labels[judged]
        return right / draws

    found = xr.apply_ufunc(
        one,
        others,
        floating,
        input_core_dims=[["image", "class"]] * 2,
        output_core_dims=[["image"]],
        vectorize=True,
    )
    return found.assign_attrs(logits.attrs)


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
        raise InputError(f"{images} images cannot be drawn from a half of {len(there)}")
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
