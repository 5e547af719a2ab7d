"""Fixtures of the statistics: outcomes of networks that are Gaussian logits."""

import numpy.typing as npt
import pytest
import xarray as xr
from gaussian_networks import gaussian_logits, two_groups


@pytest.fixture(scope="session")
def logits() -> tuple[npt.NDArray, npt.NDArray]:
    """Logits (3 seeds, 2 widths, 400 images, 10 classes) and labels."""
    return gaussian_logits()


@pytest.fixture(scope="session")
def outcomes(logits: tuple[npt.NDArray, npt.NDArray]) -> xr.Dataset:
    """Their outcomes; bits are 32 and 4."""
    return two_groups(*logits, (32, 4))
