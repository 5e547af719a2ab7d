"""Every allocation that was evaluated: what it stores, and the accuracy it keeps for whom."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from ltqlib.first import claims, experiment, metrics
from ltqlib.first.comparison import METHODS
from ltqlib.first.evidence import Predictions, Replicates, Run
from ltqlib.first.interactions import Pairs
from ltqlib.first.records import unpack

MEASURES = {"norm": "all classes", "tail": "tail", "worst": "worst class"}
UNIFORM = (6, 5, 4)  # at 8 bits nothing is lost; at 3 so much that the others would share a dot


class Point(NamedTuple):
    """One allocation of one run: widths (k, layers) of the k models whose predictions it joins."""

    family: str
    name: str
    widths: npt.NDArray[np.int64]
    predictions: Predictions


def front_table(replicates: Replicates) -> pd.DataFrame:
    """One row an allocation, averaged over the seeds of ``replicates``.

    Columns: ``family``, ``name``; ``bits`` (average a weight) and ``kilobytes`` (of the weights);
    ``norm``, ``tail`` and ``worst``, test accuracy in percent, ``worst`` being the least of any
    class, averaged over seeds; ``widths``, the weight bits by layer, as text; ``seeds``.
    Widths that two halves of the images or several seeds chose differently are averaged.
    """
    rows: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for run in replicates.runs:
        for point in evaluated(run):
            rows.setdefault((point.family, point.name), []).append(_measured(run, point))
    return pd.DataFrame([_averaged(*key, found) for key, found in rows.items()])


def floating(replicates: Replicates) -> dict[str, float]:
    """Accuracy of the float model by measure, percent, averaged over seeds."""
    found = [_accuracy(run, run.predictions("crt")) for run in replicates.runs]
    return {name: float(np.mean([one[name] for one in found])) for name in MEASURES}


def evaluated(run: Run) -> Iterator[Point]:
    """Every allocation of the records ``ptq``, ``mpq`` and ``allocate`` of a run."""
    layers = len(run.payload("mpq")["costs"])
    for bits in UNIFORM:
        predictions = run.quantized("crt", claims.SCHEME, bits)
        yield Point("uniform", f"{bits} bits", np.full((1, layers), bits), predictions)
    for driver, by_budget in run.payload("mpq")["allocations"].items():
        for budget, found in by_budget.items():
            name = f"{driver}-driven, 6 and 4 bits, {budget} bits"
            yield _chosen("ranking", name, found, unpack(found["predictions"]))
    budget = experiment.STEPS["mpq"].options["random_budget"]
    for number, found in enumerate(run.payload("mpq")["random"]):
        name = f"random {number + 1}, {budget} bits"
        yield Point(
            "random ranking", name, np.array([found["widths"]]), unpack(found["predictions"])
        )
    yield from _allocated(run)


def _allocated(run: Run) -> Iterator[Point]:
    payload, methods = run.payload("allocate"), experiment.STEPS["allocate"].options["methods"]
    for method, by_budget in payload["allocations"].items():
        solver, score, _ = methods[method]
        family = solver if score == "drop" else "exact, other scores"
        for budget, found in by_budget.items():
            if solver == "ranking" and not budget.startswith("bops"):
                continue  # the record ``mpq`` has it
            name = f"{METHODS[method]}, {budget_words(budget)}"
            yield _chosen(family, name, found, run.allocated(method, budget))
    for budget, shuffles in payload["null"].items():
        for number, found in enumerate(shuffles):
            name = f"shuffle {number + 1}, {budget_words(budget)}"
            yield _chosen("exact, layers shuffled", name, found, run.null(number, budget))


def budget_words(budget: str) -> str:
    """``4.5 bits``, ``BOPs of 4.5 bits`` or ``size and BOPs of 4.5 bits``."""
    kind, _, width = budget.rpartition(" ")
    return {"": "", "bops": "BOPs of ", "both": "size and BOPs of "}[kind] + f"{width} bits"


def _chosen(family: str, name: str, found: dict[str, Any], predictions: Predictions) -> Point:
    """An allocation that was chosen on one half of the images and judged on the other."""
    widths = np.array([found["widths"]["select"], found["widths"]["report"]])
    return Point(family, name, widths, predictions)


def _accuracy(run: Run, predictions: Predictions) -> dict[str, float]:
    found = run.accuracy(predictions)
    worst = float(run.class_accuracy(predictions).min())
    return {"norm": found["norm"], "tail": found["tail"], "worst": worst}


def _measured(run: Run, point: Point) -> dict[str, Any]:
    """Widths (layers,), size and accuracy of one point."""
    costs = run.payload("mpq")["costs"].values()
    parameters = np.array([cost["parameters"] for cost in costs], dtype=float)
    widths = point.widths.mean(0)
    size = float(widths @ parameters)  # bits
    sizes = {"bits": size / parameters.sum(), "kilobytes": size / 8e3}
    return {"layers": widths, **sizes, **_accuracy(run, point.predictions)}


def _averaged(family: str, name: str, found: list[dict[str, Any]]) -> dict[str, Any]:
    """One row from those of the seeds."""
    numbers = ("bits", "kilobytes", *MEASURES)
    return {
        "family": family,
        "name": name,
        **{key: float(np.mean([one[key] for one in found])) for key in numbers},
        "widths": widths_text(np.mean([one["layers"] for one in found], axis=0)),
        "seeds": len(found),
    }


def foreseen(run: Run) -> pd.DataFrame:
    """What models of single and of paired losses expect of whole allocations, and what was found.

    One row an allocation, half that judges it, model (``sum``, ``pairs``, ``shrunk``; measured on
    the other half) and group; columns ``expected`` and ``found``, points lost. 8 bits are taken
    for 6; allocations with 2 bits, which the record ``pairs`` does not have, are left out.
    """
    options = experiment.STEPS["pairs"].options
    free = experiment.STEPS["quadratic"].options["free"]
    pairs = Pairs.of_accuracy(run.payload("pairs"), options["bits"])
    models = [
        {"sum": pairs.model(half, free), "pairs": pairs.model(half, free),
         "shrunk": pairs.model(half, free, shrunk=True)}
        for half in (0, 1)
    ]  # fmt: skip
    rows = []
    for point in evaluated(run):
        widths = np.minimum(point.widths, free)
        if widths.min() < min(options["bits"]):
            continue
        for half, judged in enumerate((~run.select, run.select)):
            found = _lost(run, point.predictions, judged)
            chosen = widths[min(half, len(widths) - 1)]
            for name, model in models[half].items():
                table = model.sensitivity
                expected = (
                    table.predict(dict(zip(table.layers, chosen.tolist(), strict=True)))
                    if name == "sum"
                    else model.losses(chosen)[0]
                )
                for group, members in run.groups.items():
                    values = float(expected[members].mean()), float(found[members].mean())
                    rows.append((point.family, point.name, half, name, group, *values))
    columns = ["family", "name", "half", "model", "group", "expected", "found"]
    return pd.DataFrame(rows, columns=columns)


def _lost(
    run: Run, predictions: Predictions, judged: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """Points lost by each class on some of the images (classes,)."""
    floating, left = (
        metrics.per_class_accuracy(each[judged], run.labels[judged], len(run.classes))
        for each in (run.predictions("crt"), predictions)
    )
    return floating - left


def widths_text(widths: npt.ArrayLike) -> str:
    """``L1-L3 6, L4 4.5``: weight bits by layer, neighbours of one width together."""
    shown = [f"{round(float(bits), 1):g}" for bits in np.asarray(widths, dtype=float)]
    starts = [n for n in range(len(shown)) if n == 0 or shown[n] != shown[n - 1]]
    parts = []
    for start, end in zip(starts, [*starts[1:], len(shown)], strict=True):
        last = f"-L{end}" if end - start > 1 else ""
        parts.append(f"L{start + 1}{last} {shown[start]}")
    return ", ".join(parts)
