"""The control for class identity once more, with random effects: a check of the fixed ones."""

from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from scipy import optimize

from ltqlib.statistics.identity import Effect, Floats, checked_rows, dummies, effect, log_count


class Mixed(NamedTuple):
    """A mixed model's slope per tenfold more images, and its standard deviations in points.

    ``class_in_order_sd`` is what the seeds of an order share beyond the model; NaN if no order
    has two seeds. Far from 0, runs are no independent clusters.
    """

    slope: Effect
    class_sd: float
    run_sd: float
    class_in_order_sd: float
    residual_sd: float


def fit_mixed(values: pd.DataFrame | xr.DataArray, level: float = 0.95) -> Mixed:
    """The same slope with random effects of class, run and class within order, as a check.

    Restricted maximum likelihood (Patterson and Thompson, 1971). The Wald interval takes
    t with (orders - 1) (classes - 1) - 1 degrees of freedom: those of class within order.

    Args, Raises: as :func:`ltqlib.statistics.identity.fit_identity`.
    """
    rows = checked_rows(values)
    orders, classes = rows["order"].nunique(), rows["class"].nunique()
    cell = rows["order"].astype(str) + "/" + rows["class"].astype(str)
    columns = [rows["class"], rows["run"]] + [cell] * (rows["run"].nunique() > orders)
    kernels = [each @ each.T for each in map(dummies, columns)]
    design = np.column_stack([np.ones(len(rows)), log_count(rows)])
    points = rows["value"].to_numpy(float)
    found = optimize.minimize(
        lambda ratios: _restricted(ratios**2, kernels, design, points)[0],
        np.ones(len(kernels)), method="L-BFGS-B", bounds=[(0, 1e3)] * len(kernels),
    )  # fmt: skip
    _, beta, covariance, variance = _restricted(found.x**2, kernels, design, points)
    df = max(1, (orders - 1) * (classes - 1) - 1)
    slope = effect(float(beta[1]), float(np.sqrt(covariance[1, 1])), df, level)
    of_class, of_run, of_cell = [*map(float, found.x * np.sqrt(variance)), float("nan")][:3]
    return Mixed(slope, of_class, of_run, of_cell, float(np.sqrt(variance)))


def _restricted(
    ratios: Floats, kernels: list[Floats], design: Floats, values: Floats
) -> tuple[float, Floats, Floats, float]:
    """-2 x the restricted log-likelihood (up to a constant), profiled over the residual variance.

    ``ratios``: variance of each random effect over the residual variance; ``kernels``: its Z Z'.
    Returns (-2 log-likelihood, coefficients, their covariance, residual variance).
    """
    shape = np.eye(len(values)) + sum(map(np.multiply, ratios, kernels))
    weighted = np.linalg.solve(shape, design)
    information = design.T @ weighted
    beta = np.linalg.solve(information, weighted.T @ values)
    rest = values - design @ beta
    free = len(values) - design.shape[1]
    variance = float(rest @ np.linalg.solve(shape, rest)) / free
    logs = np.linalg.slogdet(shape)[1] + np.linalg.slogdet(information)[1]
    covariance = variance * np.asarray(np.linalg.inv(information), float)
    return float(free * np.log(variance) + logs), np.asarray(beta, float), covariance, variance
