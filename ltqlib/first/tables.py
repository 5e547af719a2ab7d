"""The tables of the book: outcomes of replicates with their intervals, one function a table.

A column ``drop`` is what was lost, in points; ``low`` and ``high`` bound what stands before them,
at 95 %, over seeds and test images; ``sd`` is the spread over seeds.
"""

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from ltqlib.first import experiment, metrics
from ltqlib.first.crossed import Estimate
from ltqlib.first.evidence import GROUPS, Outcomes, Predictions, Replicates, Run

WIDTHS = (32, 8, 6, 5, 4, 3, 2)
NBSP = "\u00a0"  # no line break within an interval or a spread


def accuracy_table(
    grid: Sequence[Replicates], methods: Sequence[str] = ("baseline",)
) -> pd.DataFrame:
    """Accuracy in percent; a row an imbalance factor, method and group."""
    rows = []
    for replicates in grid:
        for method in methods:
            outcomes = replicates.floating(method)
            for group in GROUPS:
                found = replicates.estimate(outcomes, replicates.groups[group])
                rows.append((replicates.factor, method, group, *found[:3], found.sd_seeds))
    columns = ["imbalance_factor", "method", "group", "accuracy", "low", "high", "sd"]
    return pd.DataFrame(rows, columns=columns)


def gap_table(grid: Sequence[Replicates], methods: Sequence[str] = ("baseline",)) -> pd.DataFrame:
    """Head minus tail accuracy in points; a row an imbalance factor and method."""
    rows = []
    for replicates in grid:
        head, tail = replicates.groups["head"], replicates.groups["tail"]
        for method in methods:
            found = replicates.estimate(replicates.floating(method), head, tail)
            rows.append((replicates.factor, method, *found[:3], found.sd_seeds))
    return pd.DataFrame(rows, columns=["imbalance_factor", "method", "gap", "low", "high", "sd"])


def bits_table(
    replicates: Replicates, method: str, scheme: str, widths: Sequence[int] = WIDTHS
) -> pd.DataFrame:
    """Accuracy and loss against float by width; a row a width and group."""
    quantized = {bits: replicates.quantized(method, scheme, bits) for bits in widths}
    return _loss_table(replicates, replicates.floating(method), quantized, "bits")


def extra_by_seed(
    replicates: Replicates, method: str, scheme: str, widths: Sequence[int]
) -> pd.DataFrame:
    """What the tail loses beyond the head, by width: each seed alone, and ``all`` together.

    The interval of one seed is over test images alone: what a study of one run would report.
    """
    head, tail = replicates.groups["head"], replicates.groups["tail"]
    rows = []
    for bits in widths:
        lost = replicates.lost(method, scheme, bits)
        for run, mine in zip(replicates.runs, lost, strict=True):
            found = Replicates((run,)).estimate(mine[None], tail, head)
            rows.append((bits, str(run.config.seed), *found[:3]))
        rows.append((bits, "all", *replicates.estimate(lost, tail, head)[:3]))
    return pd.DataFrame(rows, columns=["bits", "seed", "value", "low", "high"])


def extra_by_factor(
    grid: Sequence[Replicates], methods: Sequence[str], scheme: str, widths: Sequence[int]
) -> pd.DataFrame:
    """What the tail loses beyond the head, in points; a row an imbalance factor, method, width."""
    rows = []
    for replicates in grid:
        head, tail = replicates.groups["head"], replicates.groups["tail"]
        for method, bits in itertools.product(methods, widths):
            found = replicates.estimate(replicates.lost(method, scheme, bits), tail, head)
            rows.append((replicates.factor, method, bits, *found[:3]))
    return pd.DataFrame(
        rows, columns=["imbalance_factor", "method", "bits", "value", "low", "high"]
    )


def scheme_table(
    replicates: Replicates, methods: Sequence[str], schemes: Sequence[str], bits: int
) -> pd.DataFrame:
    """What each grid costs the tail; a row a method, scheme and measure.

    ``tail`` is what the tail loses, ``beyond head`` how much of that is beyond the head's loss, and
    ``beyond SCHEME`` how much is beyond the tail's own loss under the first scheme.
    """
    head, tail = replicates.groups["head"], replicates.groups["tail"]
    rows = []
    for method, scheme in itertools.product(methods, schemes):
        lost = replicates.lost(method, scheme, bits)
        found = {
            "tail": replicates.estimate(lost, tail),
            "beyond head": replicates.estimate(lost, tail, head),
        }
        if scheme != schemes[0]:
            first = replicates.lost(method, schemes[0], bits)
            found[f"beyond {schemes[0]}"] = replicates.estimate(lost - first, tail)
        rows += [(method, scheme, name, *estimate[:3]) for name, estimate in found.items()]
    return pd.DataFrame(rows, columns=["method", "scheme", "measure", "value", "low", "high"])


def signs_by_seed(replicates: Replicates, scheme: str, bits: int) -> dict[str, int]:
    """Of the baseline and cRT models of all seeds, taken one by one: how many show, with an
    interval over test images that excludes zero, that the tail loses more (``above``) than the
    head, or less (``below``)."""
    tables = [extra_by_seed(replicates, m, scheme, (bits,)) for m in ("baseline", "crt")]
    each = pd.concat(tables).query("seed != 'all'")
    above, below = int((each["low"] > 0).sum()), int((each["high"] < 0).sum())
    return {"models": len(each), "above": above, "below": below}


def sensitivity_table(replicates: Replicates, bits: int) -> pd.DataFrame:
    """Accuracy left and lost with one layer's weights at ``bits``; a row a layer and group."""
    floating = replicates.floating(experiment.STEPS["sensitivity"].options["model"])
    layers = list(replicates.first.one_layer(bits))
    changed = {
        layer: replicates.correct(functools.partial(_one_layer, layer=layer, bits=bits))
        for layer in layers
    }
    return _loss_table(replicates, floating, changed, "layer")


def _one_layer(run: Run, layer: str, bits: int) -> Predictions:
    return run.one_layer(bits)[layer]


def _loss_table(
    replicates: Replicates, floating: Outcomes, changed: Mapping[Any, Outcomes], key: str
) -> pd.DataFrame:
    """Accuracy of each changed model and its loss against the float one, with intervals."""
    rows = []
    for name, outcomes in changed.items():
        for group in GROUPS:
            members = replicates.groups[group]
            accuracy = replicates.estimate(outcomes, members).value
            found = replicates.estimate(floating - outcomes, members)
            rows.append((name, group, accuracy, *found[:3], found.sd_seeds))
    return pd.DataFrame(rows, columns=[key, "group", "accuracy", "drop", "low", "high", "sd"])


def rank_table(table: pd.DataFrame) -> pd.DataFrame:
    """Rank of each layer (1 loses most) by overall and by tail accuracy, of a sensitivity table."""
    wide = table.pivot(index="layer", columns="group", values="drop")
    order = [f"L{number + 1}" for number in range(len(wide))]
    ranks = wide.loc[order, ["norm", "tail"]].rank(ascending=False, method="first").astype(int)
    return ranks.rename_axis(columns=None)


def class_change_table(replicates: Replicates, first: Outcomes, second: Outcomes) -> pd.DataFrame:
    """Accuracy by class of two models, the paired difference, and p-values adjusted by Holm."""
    rows, p_values = [], []
    for label, name in enumerate(replicates.first.classes):
        found = replicates.estimate(second - first, [label])
        before, after = (replicates.estimate(x, [label]).value for x in (first, second))
        p_values.append(found.p_value)
        group = "head" if label in replicates.groups["head"] else "tail"
        rows.append((label, name, group, before, after, *found[:3]))
    columns = ["label", "class", "group", "first", "second", "change", "low", "high"]
    table = pd.DataFrame(rows, columns=columns)
    return table.assign(holm_p=metrics.holm(p_values))


def words(found: Estimate | Sequence[float], digits: int = 1, sign: bool = False) -> str:
    """``1.2 [0.3, 2.1]``: an estimate with its interval, for a cell or a sentence."""
    value, low, high = (round(x, digits) + 0.0 for x in found[:3])  # + 0.0: no minus zero
    form = f"{'+' if sign else ''}.{digits}f"
    return f"{value:{form}} [{low:{form}},{NBSP}{high:{form}}]"


def spread(value: float, sd: float, digits: int = 1) -> str:
    """``62.1 ± 0.4``: mean and standard deviation over seeds; without the latter for one seed."""
    return f"{value:.{digits}f}" + ("" if pd.isna(sd) else f"{NBSP}±{NBSP}{sd:.{digits}f}")


def listed(parts: Sequence[str]) -> str:
    """``one``, ``one and two``, ``one, two and three``."""
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last


def by_class(
    replicates_of: Mapping[str, Replicates], outcomes: Callable[[Replicates], Outcomes]
) -> pd.DataFrame:
    """One row a class order, seed and class, as :func:`ltqlib.first.identity.fit_identity` takes them.

    Args:
        replicates_of: the replicates of each class order, by its name.
        outcomes: what is averaged by class, in points.
    """
    rows = []
    for order, replicates in replicates_of.items():
        first = replicates.first
        for run, mine in zip(replicates.runs, outcomes(replicates), strict=True):
            seed = run.config.seed
            for label, count in enumerate(first.counts):
                value = 100 * float(mine[first.labels == label].mean())
                rows.append((f"{order}/{seed}", order, seed, label, count, value))
    return pd.DataFrame(rows, columns=["run", "order", "seed", "class", "count", "value"])
