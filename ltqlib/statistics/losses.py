"""The second number for every loss of the tail: at equal head accuracy."""

import pandas as pd
import xarray as xr

from ltqlib.statistics.estimate import Estimates, estimate
from ltqlib.statistics.operating import FLOAT, Reference, selected, tail_at_equal_head

GROUP = "tail, equal head"


def lost_at_equal_head(outcomes: xr.Dataset, reference: Reference = FLOAT) -> Estimates:
    """Points of tail accuracy lost against the reference at the reference's head accuracy.

    Args:
        outcomes: of whole models, as :func:`ltqlib.evaluate` returns them.
        reference: the float model, at its best operating point: a selection such as
            ``{"bits": 32}`` or ``{"configuration": "float"}``, or outcomes on the same images.

    Returns:
        a row for each model; NaN where some seed does not reach the reference's head accuracy. The
        95 % intervals are over seeds and images, and know that the offsets are estimated; see
        :mod:`ltqlib.statistics.operating`.

    Raises:
        InputError: the reference or something that is known of the images is missing.
    """
    known = selected(outcomes, reference)
    return at_equal_head_estimate(
        tail_at_equal_head(known, known) - tail_at_equal_head(outcomes, known)
    )


def at_equal_head_estimate(terms: xr.DataArray) -> Estimates:
    """Estimate of terms at equal head accuracy, in rows named for the tail there.

    Args:
        terms: such that their mean over all classes is the tail's, as
            :func:`ltqlib.statistics.tail_at_equal_head` returns them, or differences of those.

    Raises:
        InputError: as :func:`ltqlib.estimate`.
    """
    table = estimate(terms, by="norm")
    renamed = table.rename(index={"norm": GROUP}, level="group")
    renamed.attrs = table.attrs
    return renamed


def both_losses(repaired: xr.Dataset) -> Estimates:
    """Points lost by each group as it is, and by the tail at equal head accuracy, in one table.

    Args:
        repaired: ``lost`` and ``equal``, as :func:`ltqlib.experiment.repaired` returns them.

    Raises:
        InputError: as :func:`ltqlib.estimate`.
    """
    plain = estimate(repaired["lost"], by="group")
    return pd.concat([plain, at_equal_head_estimate(repaired["equal"])])
