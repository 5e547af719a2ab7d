"""The second number for every loss of the tail: at equal head accuracy."""

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
    lost = tail_at_equal_head(known, known) - tail_at_equal_head(outcomes, known)
    table = estimate(lost, by="norm")  # the terms are made so that norm is the tail
    renamed = table.rename(index={"norm": GROUP}, level="group")
    renamed.attrs = table.attrs
    return renamed
