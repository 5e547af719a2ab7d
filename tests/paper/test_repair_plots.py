"""Figures of the repair and of the remedies show the numbers they were given."""

import io

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.figure import Figure

import ltqlib as ltq
from ltqlib.paper import plots
from ltqlib.statistics import Estimates


def render(figure: Figure) -> int:
    """Bytes of the figure as PNG; warnings are errors in this suite."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.tell()


@pytest.fixture
def table(outcomes: xr.Dataset) -> Estimates:
    """Losses at two widths, by method, as they are and after a repair that halves them."""
    lost = (outcomes.right.sel(bits=32) - outcomes.right).isel(model=0, drop=True)
    lost = lost.isel(bits=[-2, -1]).astype(float)
    both = xr.concat([lost, lost / 2], pd.Index(["as it is", "test images"], name="repair"))
    return ltq.estimate(xr.concat([both, both / 3], pd.Index(["a", "b"], name="method")))


def test_losses_after_the_repair_over_those_before(table: Estimates) -> None:
    figure = plots.before_after(table)
    for axes in figure.axes:
        for container in axes.containers:
            x, y = (np.asarray(v, float) for v in container.lines[0].get_data())  # type: ignore[attr-defined]
            assert np.allclose(2 * y, x)
    assert len(figure.axes[0].containers) == 2  # one shape a width
    assert render(figure) > 10_000


def test_each_remedy_has_a_row_in_each_panel(table: Estimates) -> None:
    figure = plots.remedies(table)
    widths = list(dict.fromkeys(table.index.get_level_values("bits")))
    for axes, bits in zip(figure.axes, widths, strict=True):
        drawn = [list(c.lines[0].get_xdata()) for c in axes.containers]  # type: ignore[attr-defined]
        expected = [
            [table["value"].loc[(method, repair, bits, group)] for method in ("a", "b")]
            for group in ("head", "tail")
            for repair in ("as it is", "test images")
        ]
        assert np.allclose(drawn, expected)
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["a", "b"]
    assert render(figure) > 10_000
