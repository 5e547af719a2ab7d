"""The methods of step ``allocate`` beside each other: what each changes against the float model.

Everything is cross-fitted: bits are chosen on one half of the test images and judged on the other.
Changes are in points, above zero where the quantized network is better.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from ltqlib.first import experiment
from ltqlib.first.evidence import GROUPS, Outcomes, Replicates, Run
from ltqlib.first.tables import NBSP, spread, words

Interval = tuple[float, float, float]  # value, low, high

FLOAT, SHUFFLED = "float", "exact, layers shuffled"
METHODS = {
    "ranking-norm": "ranking, norm-driven",
    "ranking-tail": "ranking, tail-driven",
    "greedy-mean": "greedy, norm-driven",
    "greedy-tail": "greedy, tail-driven",
    "mean": "exact, norm-driven",
    "tail": "exact, tail-driven",
    "worst": "exact, minimax",
    "cvar": "exact, CVaR",
    "constrained": "exact, constrained",
    "loss-mean": "cross-entropy, norm-driven",
    "loss-tail": "cross-entropy, tail-driven",
    "loss-worst": "cross-entropy, minimax",
    "kl-mean": "KL divergence, norm-driven",
    "kl-worst": "KL divergence, minimax",
    "hawq-mean": "HAWQ trace, norm-driven",
    "hawq-tail": "HAWQ trace, tail-driven",
    "fit-mean": "FIT, norm-driven",
    "fit-tail": "FIT, tail-driven",
}
CLASS_AWARE = ("worst", "cvar", "constrained", "loss-worst", "kl-worst")
TAIL_WITHIN, WORST_WITHIN = 1.0, 3.0  # points of float that the target allows


def outcomes_of(replicates: Replicates, budget: str) -> dict[str, Outcomes]:
    """Right or wrong (seeds, images) of every model that keeps a budget, by its name for readers.

    With the float model first, the uniform network of the widest width that fits, and the mean over
    the allocations from shuffled tables where the record has them.
    """
    options = experiment.STEPS["allocate"].options
    of_layers = experiment.STEPS["sensitivity"].options
    model, scheme = of_layers["model"], of_layers["scheme"]
    uniform = int(min(options["budgets"][budget].values()))
    found = {
        FLOAT: replicates.floating(model),
        f"uniform, {uniform} bits": replicates.quantized(model, scheme, uniform),
    }
    if budget in options["null_budgets"]:
        found[SHUFFLED] = null_outcomes(replicates, budget).mean(0)
    for method, name in METHODS.items():
        if budget in replicates.first.payload("allocate")["allocations"][method]:
            found[name] = allocated(replicates, method, budget)
    return found


def allocated(replicates: Replicates, method: str, budget: str) -> Outcomes:
    """Right or wrong (seeds, images) of one method under a budget."""
    return replicates.correct(lambda run: run.allocated(method, budget))


def null_outcomes(replicates: Replicates, budget: str) -> npt.NDArray[np.float64]:
    """Right or wrong of every allocation from a shuffled table, (allocations, seeds, images)."""
    count = experiment.STEPS["allocate"].options["null"]
    return np.stack(
        [replicates.correct(lambda run, n=n: run.null(n, budget)) for n in range(count)]  # type: ignore[misc]
    )


def worst_class(replicates: Replicates, outcomes: Outcomes) -> npt.NDArray[np.float64]:
    """Accuracy of the worst class of each seed (seeds,), percent."""
    labels = replicates.first.labels
    of_class = [100 * outcomes[:, labels == c].mean(1) for c in replicates.groups["norm"]]
    return np.asarray(np.min(of_class, axis=0))


def over_seeds(values: npt.NDArray[np.float64]) -> Interval:
    """Mean over seeds with Student's 95 % interval; of one seed no interval (NaN).

    For a statistic such as a minimum, which has no interval over images of its own.
    """
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, float("nan"), float("nan")
    half = stats.t.ppf(0.975, len(values) - 1) * float(stats.sem(values))
    return mean, mean - half, mean + half


def change(replicates: Replicates, first: Outcomes, second: Outcomes, group: str) -> Interval:
    """What the second model has more than the first: norm, head, tail or ``worst`` class."""
    if group == "worst":
        return over_seeds(worst_class(replicates, second) - worst_class(replicates, first))
    return replicates.estimate(second - first, replicates.groups[group])[:3]


def in_words(found: Interval) -> str:
    """``+1.2 [+0.3, +2.1]``, or the value alone where there is no interval."""
    return f"{found[0]:+.1f}" if np.isnan(found[1]) else words(found, sign=True)


def comparison_table(replicates: Replicates, budget: str) -> pd.DataFrame:
    """Accuracy of every model under a budget with its spread, and its change against float."""
    columns: dict[str, dict[str, str]] = {}
    outcomes = outcomes_of(replicates, budget)
    for name, mine in outcomes.items():
        found = {group: replicates.estimate(mine, replicates.groups[group]) for group in GROUPS}
        levels = {group: spread(e.value, e.sd_seeds) for group, e in found.items()}
        low = worst_class(replicates, mine)
        levels["worst"] = spread(low.mean(), low.std(ddof=1) if len(low) > 1 else np.nan)
        for group, level in levels.items():
            against = in_words(change(replicates, outcomes[FLOAT], mine, group))
            title = {"norm": "overall", "worst": "worst class"}.get(group, group)
            together = against.replace(" [", f"{NBSP}[")  # on one line of its cell
            cell = level if name == FLOAT else f"{level}; {together}"
            columns.setdefault(title, {})[name] = cell
    return pd.DataFrame(columns)


def changes_in_words(replicates: Replicates, budgets: Mapping[str, str]) -> pd.DataFrame:
    """Changes against float under some budgets, ``{budget: title}``, side by side as words."""
    columns = {}
    for budget, title in budgets.items():
        outcomes = outcomes_of(replicates, budget)
        for group, short in (("norm", "overall"), ("tail", "tail"), ("worst", "worst class")):
            columns[(title, short)] = {
                name: in_words(change(replicates, outcomes[FLOAT], mine, group))
                for name, mine in outcomes.items()
                if name != FLOAT
            }
    return pd.DataFrame(columns).fillna("")


def changes_table(grid: Mapping[float, Replicates], budget: str) -> pd.DataFrame:
    """Change against float by imbalance factor, method and group (norm, head, tail, worst)."""
    rows = []
    for factor, replicates in grid.items():
        outcomes = outcomes_of(replicates, budget)
        for name, mine in outcomes.items():
            for group in (*GROUPS, "worst") if name != FLOAT else ():
                found = change(replicates, outcomes[FLOAT], mine, group)
                rows.append((factor, name, group, *found))
    return pd.DataFrame(rows, columns=["factor", "method", "group", "change", "low", "high"])


def criteria(replicates: Replicates, method: str, budget: str) -> dict[str, tuple[Interval, float]]:
    """What the target asks of a class-aware method: ``{criterion: (found, at least)}``."""
    mine, outcomes = allocated(replicates, method, budget), outcomes_of(replicates, budget)
    uniform = next(name for name in outcomes if name.startswith("uniform"))
    found = {
        "tail against float": (change(replicates, outcomes[FLOAT], mine, "tail"), -TAIL_WITHIN),
        "worst class against float": (
            change(replicates, outcomes[FLOAT], mine, "worst"),
            -WORST_WITHIN,
        ),
    }
    for other in (uniform, METHODS["mean"]):
        for group, title in (("norm", "overall"), ("tail", "tail"), ("worst", "worst class")):
            gain = change(replicates, outcomes[other], mine, group)
            found[f"{title}, gain over {other}"] = (gain, 0.0)
    return found


def verdict(found: Interval, at_least: float) -> str:
    """Whether a value reaches what is asked, by its whole interval or on average only."""
    value, low, _ = found
    if value < at_least:
        return f"not reached: {at_least - value:.1f} short"
    if np.isnan(low):
        return "reached by the one seed"
    return "reached" if low >= at_least else "reached on average only"


def target_table(
    replicates: Replicates, budget: str, methods: Sequence[str] = CLASS_AWARE
) -> pd.DataFrame:
    """Every criterion of the target against every method, with its interval and its verdict."""
    columns = {
        METHODS[method]: {
            name: f"{in_words(found)}; {verdict(found, at_least)}"
            for name, (found, at_least) in criteria(replicates, method, budget).items()
        }
        for method in methods
    }
    return pd.DataFrame(columns)


def class_losses(replicates: Replicates, method: str, budget: str) -> pd.DataFrame:
    """Points that each class loses: what was expected, and what was found.

    One row a seed, half that chose, and class. ``expected`` is what the additive model says of the
    half that chose; ``elsewhere`` what it says of the same widths on the other half, so their
    difference is the luck of the choice; ``found`` is what the network lost there, and its
    difference from ``elsewhere`` is what does not add up.
    """
    rows = [row for run in replicates.runs for row in _class_losses(run, method, budget)]
    columns = ["seed", "half", "class", "group", "expected", "elsewhere", "found"]
    return pd.DataFrame(rows, columns=columns)


def _class_losses(run: Run, method: str, budget: str) -> Iterator[tuple[object, ...]]:
    tables = {half: run.losses(half) for half in ("select", "report")}
    chosen = run.payload("allocate")["allocations"][method][budget]["widths"]
    predictions = run.allocated(method, budget)
    floating = run.predictions(experiment.STEPS["sensitivity"].options["model"])
    for half, other in (("select", "report"), ("report", "select")):
        widths = dict(zip(tables[half].layers, chosen[half], strict=True))
        mask = run.select if other == "select" else ~run.select
        right = [(p == run.labels)[mask].astype(float) for p in (floating, predictions)]
        labels = run.labels[mask]
        expected, elsewhere = tables[half].predict(widths), tables[other].predict(widths)
        for label in run.groups["norm"]:
            lost = 100 * float((right[0] - right[1])[labels == label].mean())
            group = "head" if label in run.groups["head"] else "tail"
            yield (run.config.seed, half, label, group, expected[label], elsewhere[label], lost)


def limits_table(
    replicates: Replicates, budget: str, methods: Sequence[str] = ("mean", "tail", *CLASS_AWARE)
) -> pd.DataFrame:
    """Where expectation and finding part, by method: mean over seeds and halves, in points lost.

    Columns: the tail, and the class that loses most, as expected, elsewhere and found
    (:func:`class_losses`).
    """
    kinds = ["expected", "elsewhere", "found"]
    rows = {}
    for method in methods:
        losses = class_losses(replicates, method, budget)
        tail = losses[losses["group"] == "tail"][kinds].mean()
        most = losses.groupby(["seed", "half"])[kinds].max().mean()
        rows[METHODS[method]] = {
            (title, kind): float(values[kind])
            for title, values in (("tail", tail), ("class that loses most", most))
            for kind in kinds
        }
    return pd.DataFrame(rows).T
