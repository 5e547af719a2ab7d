"""How far each metric of importance ranks the layers as the accuracy that they cost does.

A metric is measured on one half of the test images and compared with the accuracy lost on the
other half, so that no image is on both sides; then the halves swap.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from ltqlib.first import metrics
from ltqlib.first.comparison import over_seeds
from ltqlib.first.evidence import GROUPS, Replicates, Run

Array = npt.NDArray[np.float64]
OTHER = {"select": "report", "report": "select"}
PAIRS = (5, 4, 3)  # widths that are compared together: 6 and 8 bits cost nothing, 2 break it


@dataclass(frozen=True)
class Metric:
    """A metric of the record, its name for readers, and what it needs.

    ``sign`` is -1 where more sensitive layers have smaller scores; ``classes`` and ``widths`` say
    which axes the scores have beside the layers.
    """

    name: str
    needs: str
    sign: int = 1
    classes: bool = True
    widths: bool = True


METRICS = {
    "drop": Metric("accuracy drop", "an accuracy sweep"),
    "loss": Metric("loss increase", "outputs"),
    "kl": Metric("KL divergence", "outputs"),
    "output_sqnr": Metric("SQNR of outputs", "outputs of layers", sign=-1),
    "sqnr": Metric("SQNR of weights", "weights", sign=-1, classes=False),
    "fit": Metric("FIT", "gradients of images"),
    "hawq": Metric("HAWQ-v2: trace and noise", "Hessian products"),
    "taylor": Metric("Taylor, first order", "gradients"),
    "learned": Metric("learned step size (LIMPQ)", "training steps", classes=False),
    "trace": Metric("Hessian trace", "Hessian products", widths=False),
    "eigenvalue": Metric("top eigenvalue", "Hessian products", classes=False, widths=False),
    "fisher": Metric("Fisher trace", "gradients of images", widths=False),
    "gradient": Metric("mean gradient", "gradients", widths=False),
    "grape": Metric("gradient times weight", "gradients", widths=False),
}


def scores(run: Run, metric: str, half: str, group: str) -> Array:
    """Sensitivity by a metric on a half, larger where it is more: (layers, widths) or (layers,).

    The mean over the classes of ``group`` where the metric has classes.
    """
    kind = METRICS[metric]
    values = run.losses(half).losses if metric == "drop" else run.importance(metric, half)
    return kind.sign * (values[run.groups[group]].mean(0) if kind.classes else values)


def correlation(
    run: Run, metric: str, group: str, widths: Sequence[int], scored_on: str | None = None
) -> float:
    """Spearman correlation of a metric's scores with the accuracy that ``group`` loses.

    Over layers and ``widths`` together; mean over the two directions between the halves.

    Args:
        scored_on: the group whose scores are taken, if not ``group`` itself.
    """
    found = []
    for half, other in OTHER.items():
        table = run.losses(other)
        columns = [table.widths.index(bits) for bits in widths]
        lost = table.losses[run.groups[group]].mean(0)[:, columns]
        mine = scores(run, metric, half, scored_on or group)
        mine = mine[:, columns] if mine.ndim == 2 else np.repeat(mine[:, None], len(columns), 1)
        found.append(metrics.spearman(mine.ravel().tolist(), lost.ravel().tolist()))
    return float(np.mean(found))


def agreement_table(
    replicates: Replicates, widths: Sequence[int], scored_on: str | None = None
) -> pd.DataFrame:
    """Correlation of every metric with the loss of norm, head and tail, with an interval over
    seeds (NaN for one). Metrics without widths are left out where several are compared."""
    rows = []
    for metric, kind in METRICS.items():
        if len(widths) > 1 and not kind.widths:
            continue
        for group in GROUPS:
            each = [correlation(run, metric, group, widths, scored_on) for run in replicates.runs]
            rows.append((kind.name, group, *over_seeds(np.array(each))))
    return pd.DataFrame(rows, columns=["metric", "group", "correlation", "low", "high"])


def own_classes_table(replicates: Replicates, widths: Sequence[int]) -> pd.DataFrame:
    """What scores of the tail's own images add to predicting its loss: the correlation with them
    less that with the scores of all classes, paired by seed."""
    rows = []
    for metric, kind in METRICS.items():
        if kind.classes and (kind.widths or len(widths) == 1):
            gain = [
                correlation(run, metric, "tail", widths)
                - correlation(run, metric, "tail", widths, scored_on="norm")
                for run in replicates.runs
            ]
            rows.append((kind.name, *over_seeds(np.array(gain))))
    return pd.DataFrame(rows, columns=["metric", "gain", "low", "high"])


def rank_table(replicates: Replicates, bits: int) -> pd.DataFrame:
    """Mean rank of every layer over seeds and halves (1: most sensitive), metrics in rows.

    The first two rows are ranks by what all classes and the tail lose.
    """
    of_rows = {("drop", "norm"): "overall drop", ("drop", "tail"): "tail drop"}
    of_rows |= {(m, "norm"): kind.name for m, kind in METRICS.items() if m != "drop"}
    layers = replicates.first.losses("select").layers
    rows = {
        name: np.mean(
            [_ranks(run, metric, half, group, bits) for run in replicates.runs for half in OTHER],
            axis=0,
        )
        for (metric, group), name in of_rows.items()
    }
    return pd.DataFrame(rows, index=list(layers)).T


def _ranks(run: Run, metric: str, half: str, group: str, bits: int) -> Array:
    values = scores(run, metric, half, group)
    if values.ndim == 2:
        values = values[:, run.losses(half).widths.index(bits)]
    return np.asarray(stats.rankdata(-values), dtype=np.float64)
