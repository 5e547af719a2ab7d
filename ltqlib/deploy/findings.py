"""What an audit finds: tables from the outcomes of every image. No torch.

``outcomes`` are ``predicted``, ``matched`` (after the repair without labels), ``best_head``,
``best_tail`` and ``margin``, (configuration, image), the float model among the configurations, with
``label``, ``group``, ``side`` (head or tail) and ``half`` of each image. Losses are points of
accuracy; positive is worse than float.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from scipy import special

from ltqlib.errors import InputError
from ltqlib.statistics import Estimates, at_best, estimate, holm, mcnemar
from ltqlib.statistics.losses import lost_at_equal_head

FLOAT = "float"
ALPHA = 0.05  # of every test, after Holm's correction over the classes


def right(outcomes: xr.Dataset, what: str = "predicted") -> xr.DataArray:
    """Right (1) or wrong (0) of each image, as it is or ``matched``."""
    found = (outcomes[what] == outcomes["label"]).astype(float)
    return found.assign_attrs(outcomes.attrs)


def lost(outcomes: xr.Dataset, what: str = "predicted") -> xr.DataArray:
    """What every configuration loses of each image (-1, 0, 1) against float."""
    before = right(outcomes).sel(configuration=FLOAT, drop=True)
    after = right(outcomes, what)
    names = [name for name in after["configuration"].values if name != FLOAT]
    return (before - after.sel(configuration=names)).assign_attrs(outcomes.attrs)


def paired_interval(
    lost_only: npt.ArrayLike, gained_only: npt.ArrayLike, images: npt.ArrayLike, level: float = 0.95
) -> tuple[npt.NDArray, npt.NDArray]:
    """Interval of a paired difference of accuracies, in points, that holds for few images too.

    Agresti and Min (2005): the Wald interval after half an image is added to each of the four
    cells. It never has length 0, so that three images without a change promise little.

    Args:
        lost_only, gained_only: images that one of the two models alone has right.
        images: of the class.
        level: of each interval.
    """
    b, c, n = (np.asarray(x, float) for x in (lost_only, gained_only, images))
    more = n + 2
    difference = (b - c) / more
    spread = np.sqrt((b + c + 1) - more * difference**2) / more
    half = -special.ndtri((1 - level) / 2) * spread
    return 100 * (difference - half), 100 * (difference + half)


def by_class(outcomes: xr.Dataset, configuration: str, level: float = 0.95) -> pd.DataFrame:
    """One row a class: its images, accuracy in float and now, the loss with its interval, tests.

    Columns: ``group``, ``training`` (images, where known), ``images``, ``float``, ``now``,
    ``lost``, ``low``, ``high``, ``p`` (exact McNemar), ``holm`` (adjusted over classes), ``hurt``
    (significantly worse), ``gained`` (significantly better), ``repaired`` (loss after the repair).
    """
    chosen = outcomes.sel(configuration=[FLOAT, configuration])
    labels = outcomes["label"].values
    before, after = right(chosen).values.astype(bool)
    repaired = right(chosen, "matched").values[1]
    names, counts = outcomes.attrs["classes"], list(outcomes.attrs.get("counts", []))
    rows = {}
    for label in np.unique(labels):
        mine = labels == label
        test = mcnemar(before[mine], after[mine])
        low, high = paired_interval(test.first_only, test.second_only, mine.sum(), level)
        rows[names[label]] = {
            "group": str(outcomes["group"].values[mine][0]),
            "training": counts[label] if counts else np.nan,
            "images": int(mine.sum()),
            "float": 100 * before[mine].mean(),
            "now": 100 * after[mine].mean(),
            "lost": 100 * (before[mine].mean() - after[mine].mean()),
            "low": float(low),
            "high": float(high),
            "p": float(test.p_value),
            "repaired": 100 * (before[mine].mean() - repaired[mine].mean()),
        }
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("class")
    table["holm"] = holm(table["p"])
    table["hurt"] = (table["holm"] < ALPHA) & (table["lost"] > 0)
    table["gained"] = (table["holm"] < ALPHA) & (table["lost"] < 0)
    return table


def by_group(outcomes: xr.Dataset) -> Estimates:
    """Loss of all classes (``norm``) and of each group, index (how, configuration, group).

    ``how``: as it is; repaired (class shares matched, no labels); of the tail alone, at equal head
    accuracy: what is left when the operating point is moved back (group ``tail, equal head``); and
    of all classes at best point: float and quantized model each where its own head-tail curve is
    best, which leaves what no offset between head and tail repairs.
    """
    parts = {"as it is": estimate(lost(outcomes)), "repaired": estimate(lost(outcomes, "matched"))}
    sides = outcomes.assign_coords(group=outcomes["side"])
    equal = lost_at_equal_head(sides, {"configuration": FLOAT}).drop(FLOAT, level="configuration")
    parts["at equal head"] = equal
    parts["at best point"] = at_best_point(sides)
    return joined(parts, "how")


def at_best_point(sides: xr.Dataset) -> Estimates:
    """Loss of all classes with every model at its own best point. Of one model, a loss of head or
    tail alone has no valid interval there: see :func:`ltqlib.statistics.at_best`."""
    best = at_best(sides)
    return estimate(best.sel(configuration=FLOAT) - best.drop_sel(configuration=FLOAT), by="norm")


def joined(parts: dict[str, Estimates], name: str) -> Estimates:
    """Tables under one another with a new first level of the index."""
    first = next(iter(parts.values()))
    table = Estimates(pd.concat(parts, names=[name]))
    table.attrs = dict(first.attrs)
    return table


def of_tail(outcomes: xr.Dataset, what: str = "predicted") -> Estimates:
    """What the tail (all classes outside the head) loses, by configuration."""
    values = lost(outcomes, what).assign_coords(group=outcomes["side"])
    return Estimates(estimate(values).xs("tail", level="group"))


def of_sides(outcomes: xr.Dataset) -> Estimates:
    """Accuracy of all classes, head and tail, in percent, by configuration."""
    return estimate(right(outcomes).assign_coords(group=outcomes["side"]))


def confusions(outcomes: xr.Dataset, configuration: str) -> pd.DataFrame:
    """Calls that changed, most frequent first; the last column counts ``images``.

    A row says: so many images of this class, which float called ``float``, are called ``now``.
    """
    changed = flips(outcomes, configuration)
    keys = ["class", "group", "float", "now", "change"]
    counted = changed.groupby(keys, sort=False).size().rename("images").reset_index()
    return counted.sort_values("images", ascending=False, kind="stable", ignore_index=True)


def flips(outcomes: xr.Dataset, configuration: str) -> pd.DataFrame:
    """Every image whose call changed: ``image`` (its position), ``class``, ``group``, ``float``,
    ``now`` and ``change`` (lost, gained, or other: wrong before and after)."""
    names, labels = np.array(outcomes.attrs["classes"], object), outcomes["label"].values
    before, after = outcomes["predicted"].sel(configuration=[FLOAT, configuration]).values
    at = np.flatnonzero(before != after)
    was, now = (before[at] == labels[at]), (after[at] == labels[at])
    change = np.where(was, "lost", np.where(now, "gained", "other"))
    return pd.DataFrame(
        {
            "image": at,
            "class": names[labels[at]],
            "group": outcomes["group"].values[at].astype(str),
            "float": names[before[at]],
            "now": names[after[at]],
            "change": change,
        }
    )


def sensitivity(alone: xr.Dataset) -> pd.DataFrame:
    """Points lost with one layer alone at a width, index (layer, bits): ``norm``, ``head``,
    ``tail``, each with ``low`` and ``high``, and the layer's ``parameters``."""
    values = alone["right"].astype(float)
    values = (values.sel(bits=32) - values.drop_sel(bits=32)).assign_coords(group=alone["side"])
    table = estimate(values)
    columns: dict[str, Any] = {}
    for group in ("norm", "head", "tail"):
        rows = table.xs(group, level="group")
        columns |= {
            group: rows["value"],
            f"{group} low": rows["low"],
            f"{group} high": rows["high"],
        }
    found = pd.DataFrame(columns)
    parameters = dict(zip(alone["layer"].values, alone["parameters"].values.tolist(), strict=True))
    found["parameters"] = [parameters[layer] for layer, _ in found.index]
    return found


def half_of(outcomes: xr.Dataset, half: str) -> xr.Dataset:
    """The images of one half.

    Raises:
        InputError: it has no image of the head or of the tail.
    """
    found = outcomes.isel(image=np.flatnonzero(outcomes["half"].values == half))
    if missing := {"head", "tail"} - set(found["side"].values.tolist()):
        raise InputError(
            f"the half of the test images called {half!r} has no image of the {missing.pop()}: "
            "two images of a class are needed at least"
        )
    return found


def candidates(outcomes: xr.Dataset, half: str) -> pd.DataFrame:
    """What could be shipped, judged on one half: index (configuration, repaired).

    Columns: ``kind``, ``method``, ``mean_bits``, ``size`` (bytes), and the tail's loss as
    ``lost``, ``low``, ``high``, that of the worst class as ``worst``, and that of all classes as
    ``norm``.
    """
    images = half_of(outcomes, half)
    told = {name: outcomes[name].to_series() for name in ("kind", "method", "mean_bits", "size")}
    parts = {}
    for repaired, what in ((False, "predicted"), (True, "matched")):
        tail, values = of_tail(images, what), lost(images, what)
        part = pd.DataFrame({"lost": tail["value"], "low": tail["low"], "high": tail["high"]})
        worst = estimate(values, by="class")["value"].groupby(level="configuration").max()
        part["worst"], norm = worst, estimate(values, by="norm")
        part["norm"] = norm.droplevel("group")["value"]
        parts[repaired] = part.rename_axis("configuration").join(pd.DataFrame(told))
    table = pd.concat(parts, names=["repaired"]).swaplevel()
    return table.sort_values("size", kind="stable")


def positions(outcomes: xr.Dataset, configuration: str, count: int) -> Sequence[int]:
    """Positions of up to ``count`` images that the configuration lost: rare classes first, of
    each class one before any has a second."""
    found = flips(outcomes, configuration)
    found = found[found["change"] == "lost"]
    turn = found.groupby("class").cumcount()
    head = outcomes["side"].values[found["image"]] == "head"
    return found["image"].to_numpy()[np.lexsort((turn, head))][:count].tolist()
