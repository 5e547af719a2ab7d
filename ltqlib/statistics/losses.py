"""The second number for every loss of the tail: at equal head accuracy."""

import xarray as xr

from ltqlib.statistics.estimate import Estimates, estimate
from ltqlib.statistics.operating import FLOAT, Reference, selected, tail_at_equal_head

GROUP = "tail, equal head"


def lost_at_equal_head(
    outcomes: xr.Dataset, reference: Reference = FLOAT, *, level: float = 0.95
) -> Estimates:
    """Points of tail accuracy lost against the reference at the reference's head accuracy.

    Args:
        outcomes: of whole models, as :func:`ltqlib.evaluate` returns them.
        reference: the float model, at its best operating point: a selection such as
            ``{"bits": 32}`` or ``{"configuration": "float"}``, or outcomes on the same images.
        level: of the interval, which is over seeds and images and knows that the offsets are
            estimated; see :mod:`ltqlib.statistics.operating`.

    Returns:
        a row for each model; NaN where some seed does not reach the reference's head accuracy.

    Raises:
        InputError: the reference or something that is known of the images is missing.
    """
    known = selected(outcomes, reference)
    lost = tail_at_equal_head(known, known) - tail_at_equal_head(outcomes, known)
    table = estimate(lost, by="norm", level=level)  # the terms are made so that norm is the tail
    renamed = table.rename(index={"norm": GROUP}, level="group")
    renamed.attrs = table.attrs
    return renamed
