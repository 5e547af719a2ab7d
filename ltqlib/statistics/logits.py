"""From full logits to outcomes: any two groups, and logit adjustment for more than two."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import xarray as xr

from ltqlib.errors import InputError
from ltqlib.statistics.estimate import group_members

TAUS = tuple(np.arange(0, 2.01, 0.1).round(1).tolist())


def outcomes_of(
    logits: xr.DataArray, tail: Sequence[int] | None = None, offsets: npt.ArrayLike = 0.0
) -> xr.Dataset:
    """Outcomes of full logits, as the head-tail curve takes them.

    Args:
        logits: dimensions (..., image, class), with the coordinate ``label`` on image.
        tail: labels of the one group; the other classes are "head". Left out: the classes of
            "tail" in the coordinate ``group``.
        offsets: added to the logits of each class, (C,), see :mod:`ltqlib.statistics.repair`.

    Returns:
        ``predicted``, ``right``, ``best_head``, ``best_tail`` and ``margin`` (best tail logit less
        best head logit) with the coordinates of the images; ``group`` is "head" or "tail".

    Raises:
        InputError: a dimension or coordinate is missing, or one of the groups has no class.
    """
    array, dims = _values(logits), _dims(logits)
    array = array + np.broadcast_to(np.asarray(offsets, float), array.shape[-1:])
    members = group_members(logits).get("tail", []) if tail is None else list(tail)
    inside = np.isin(np.arange(array.shape[-1]), members)
    if inside.all() or not inside.any():
        raise InputError("the tail needs some of the classes: not none, and not all")
    head, rare = array[..., ~inside], array[..., inside]
    best_head = np.flatnonzero(~inside)[head.argmax(-1)]
    best_tail = np.flatnonzero(inside)[rare.argmax(-1)]
    margin = rare.max(-1) - head.max(-1)
    predicted = np.where(margin > 0, best_tail, best_head)
    labels = logits["label"].to_numpy()
    found = {
        "predicted": predicted,
        "right": predicted == labels,
        "best_head": best_head,
        "best_tail": best_tail,
        "margin": margin.astype(np.float32),
    }
    coordinates = {name: c for name, c in logits.coords.items() if "class" not in c.dims}
    return xr.Dataset(
        {name: (dims, values) for name, values in found.items()}, coordinates, dict(logits.attrs)
    ).assign_coords(group=("image", np.where(inside[labels], "tail", "head")))


def logit_adjustment(
    logits: xr.DataArray, counts: npt.ArrayLike, taus: Sequence[float] = TAUS
) -> xr.DataArray:
    """Right or wrong of each image with ``logit - tau * log(prior)``, along tau.

    The curve of any number of groups: ``estimate(logit_adjustment(logits, counts))`` has a row for
    each tau. Menon et al. (ICLR 2021), equation 9; tau = 0 is the model as it is, 1 what is
    consistent for balanced accuracy where the logits are those of the training distribution.

    Args:
        logits: dimensions (..., image, class), with the coordinate ``label`` on image.
        counts: (C,) training images of each class; their shares are the prior.
        taus: strengths.

    Returns:
        bool, dimensions (..., tau, image).

    Raises:
        InputError: a dimension or coordinate is missing, or a count is not above 0.
    """
    array, prior = _values(logits), np.asarray(counts, float)
    if prior.shape != array.shape[-1:] or not (prior > 0).all():
        raise InputError(f"counts must be above 0, one for each of {array.shape[-1]} classes")
    log_prior = np.log(prior / prior.sum())
    predicted = np.stack([(array - tau * log_prior).argmax(-1) for tau in taus], axis=-2)
    dims = (*_dims(logits)[:-1], "tau", "image")
    coordinates = {name: c for name, c in logits.coords.items() if "class" not in c.dims}
    right = xr.DataArray(predicted == logits["label"].to_numpy(), coordinates, dims)
    return right.assign_coords(tau=list(taus)).assign_attrs(logits.attrs)


def _dims(logits: xr.DataArray) -> tuple[str, ...]:
    return (*(str(d) for d in logits.dims if d not in ("image", "class")), "image")


def _values(logits: xr.DataArray) -> npt.NDArray:
    """(..., N, C)."""
    if not {"image", "class"} <= set(logits.dims):
        raise InputError(f"logits need the dimensions image and class, not {logits.dims}")
    if "label" not in logits.coords or logits["label"].dims != ("image",):
        raise InputError("logits need the coordinate label on image")
    return logits.transpose(..., "image", "class").to_numpy()
