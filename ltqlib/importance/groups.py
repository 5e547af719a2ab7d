"""Means by class, or by groups of classes, as weights of images."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import xarray as xr

from ltqlib.errors import InputError

Labels = npt.NDArray[np.integer]
Groups = Mapping[str, Sequence[int]]  # name of the group: labels of its classes


def image_shares(labels: npt.ArrayLike, groups: Groups | None = None) -> xr.DataArray:
    """Weight of each image in the mean of each class or group, rows sum to 1.

    A group's mean is the mean over its classes of the class means, so an image of a class with
    ``n_c`` images in a group of ``k`` classes weighs ``1 / (k * n_c)``.

    Args:
        labels: classes of the images, (N,).
        groups: name -> labels of its classes; left out, every class that occurs by itself.

    Returns:
        (class, image), class the labels in their order; or (group, image).

    Raises:
        InputError: no image, no group, a group without a class, or a class without an image.
    """
    labels = np.asarray(labels)
    if not labels.size:
        raise InputError("no image was given: sensitivity is measured on images")
    if groups is None:
        classes = np.unique(labels).tolist()
        rows = [(labels == label) / (labels == label).sum() for label in classes]
        return xr.DataArray(np.stack(rows), {"class": classes}, ("class", "image"))
    if not groups:
        raise InputError("no group of classes was given: name at least one")
    rows = [_row(labels, name, members) for name, members in groups.items()]
    return xr.DataArray(np.stack(rows), {"group": list(groups)}, ("group", "image"))


def _row(labels: npt.NDArray, name: str, members: Sequence[int]) -> npt.NDArray[np.float64]:
    if not members:
        raise InputError(f"group {name!r} has no class: give it one or leave it out")
    row = np.zeros(len(labels))
    for label in members:
        mine = labels == label
        if not mine.any():
            raise InputError(
                f"class {label} of group {name!r} has no image here: give images of every "
                "class, or leave the class out"
            )
        row[mine] += 1 / (len(members) * mine.sum())
    return row


def mean_of(values: xr.DataArray, shares: xr.DataArray) -> xr.DataArray:
    """Means by class or group of values (..., image), the class or group first."""
    apart = values.drop_vars([name for name, c in values.coords.items() if "image" in c.dims])
    dim = str(shares.dims[0])
    return xr.dot(apart, shares, dim="image").transpose(dim, ...)
