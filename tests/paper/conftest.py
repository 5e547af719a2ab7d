"""Figures without a screen, and outcomes with planted losses."""

import matplotlib as mpl
import pytest
import xarray as xr
from planted import made_up

mpl.use("Agg")


@pytest.fixture(scope="session")
def outcomes() -> xr.Dataset:
    """The tail loses more than the head, the more so with fewer bits."""
    fewer = {32: 0, 6: 1, 5: 2, 4: 3}
    return made_up(lambda m, b: (0.9 - 0.02 * fewer[b], 0.6 + 0.1 * m - 0.1 * fewer[b]))
