"""From labelled outcomes to numbers with intervals: :func:`estimate`, and its table."""

import html
import json
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from ltqlib.errors import InputError
from ltqlib.statistics.intervals import Interval, crossed_interval

STATISTICS = ("value", "low", "high", "p", "sd", "seeds")
KNOWN_GROUPS = ("head", "tail", "many", "medium", "few")  # in the order that readers expect
NBSP = "\u00a0"

By = str | tuple[str, str] | Mapping[str, Sequence[int]]


class Estimates(pd.DataFrame):
    """Estimates in points: one row for each combination of the dimensions and each group.

    The index names the combination, its last level (``group`` or ``class``) the group.
    Columns: ``value``; ``low`` and ``high``, the interval over seeds and images; ``p``, two-sided,
    of "the truth is 0"; ``sd`` over seeds (NaN for one seed); ``seeds``, how many were measured.
    ``low``, ``high`` and ``p`` are NaN where no interval is valid: a class has one test image.
    A notebook shows it with a column for each group and cells like "1.2 [0.3, 2.1]".
    """

    @property
    def _constructor(self) -> type["Estimates"]:
        return Estimates

    def _repr_html_(self) -> str:
        table = self.wide()
        if table is None:
            return pd.DataFrame(self).to_html(border=0)
        style = ' style="white-space: nowrap"'
        body = table.to_html(border=0, escape=True, na_rep="").replace("<td", f"<td{style}")
        first, rest = body.split("\n", 1)
        caption = f'<caption style="caption-side: bottom">{html.escape(self.note())}</caption>'
        return "\n".join((first, caption, rest))

    def wide(self) -> pd.DataFrame | None:
        """The table as text, a column for each group; None where columns of it were dropped."""
        if not set(STATISTICS[:3]) <= set(self.columns):
            return None
        keys = [name for name in self.index.names if name is not None]
        flat = pd.DataFrame(self.reset_index(level=keys) if keys else self)
        keys = [name for name in flat.columns if name not in STATISTICS]
        if not keys or flat.duplicated(keys).any():
            return None
        digits = 1 if self._spread() >= 0.1 and self._unit() == "Points" else 2
        found = zip(flat["value"], flat["low"], flat["high"], strict=True)
        flat["estimate"] = [cell(*three, digits=digits) for three in found]
        for name in keys:  # in the order of the rows, not of the alphabet
            flat[name] = pd.Categorical(flat[name], flat[name].unique())
        if keys == ["group"]:
            return flat.set_index("group")[["estimate"]].T.rename(index={"estimate": ""})
        if "group" in keys:
            rows = [name for name in keys if name != "group"]
            return flat.pivot(index=rows, columns="group", values="estimate").dropna(how="all")
        if len(keys) == 2 and "class" in keys:  # there may be many classes: down, not across
            (other,) = set(keys) - {"class"}
            return flat.pivot(index="class", columns=other, values="estimate")
        return flat.set_index(keys)[["estimate"]]

    def of(self, group: Hashable) -> "Estimates":
        """The rows of one group.

        Raises:
            InputError: there is no such group.
        """
        names = self.index.get_level_values(-1)
        if group not in names:
            raise InputError(f"there is no {group!r} among {', '.join(map(str, names.unique()))}")
        return self[names == group]

    def note(self) -> str:
        """One line under the table: what the intervals are over."""
        seeds = sorted({*self["seeds"]} - {0}) if "seeds" in self else []  # 0: an empty cell
        over = " to ".join(str(n) for n in sorted({*seeds[:1], *seeds[-1:]}))
        over += " seed" if seeds == [1] else " seeds"
        given = self.attrs.get("over", "")
        alone = given == "seeds"
        if given and not alone:
            over = given
        elif not alone:
            images = self.attrs.get("images")
            over += f" and {images:,} test images" if images else " and test images"
        level = 100 * self.attrs.get("level", 0.95)
        text = f"{self._unit()}; {level:g} % intervals over {over.strip()}"
        if (self["value"].notna() & self["low"].isna()).any():
            usual = "one seed was run" if alone else "a class has a single test image"
            why = self.attrs.get("no interval", usual)
            text += f"; no interval is valid where {why}"
        return text

    def _unit(self) -> str:
        return str(self.attrs.get("unit", "Points"))

    def _spread(self) -> float:
        """Half of the typical interval, points; infinite without any."""
        reach = (self["high"] - self["low"]).to_numpy(float) / 2
        reach = reach[np.isfinite(reach) & (reach > 0)]
        return float(np.median(reach)) if len(reach) else np.inf


def cell(value: float, low: float, high: float, digits: int = 1) -> str:
    """``1.2 [0.3, 2.1]`` with spaces that do not break; "" for NaN, the value alone if it must."""
    if np.isnan(value):
        return ""
    # as Python rounds: NumPy's round of the same number may differ in the last digit
    rounded = [round(float(x), digits) + 0.0 for x in (value, low, high)]
    words = [f"{x:.{digits}f}".replace("-", "\u2212") for x in rounded]
    return words[0] if np.isnan(low) else f"{words[0]}{NBSP}[{words[1]},{NBSP}{words[2]}]"


def estimate(values: xr.DataArray, by: By = "group", level: float = 0.95) -> Estimates:
    """Mean over the classes of each group, with an interval over seeds and test images, in points.

    Args:
        values: right (1) or wrong (0) of each image, or a difference of those, or of differences.
            Dimension ``image`` with the coordinate ``label``; where ``seed`` is a dimension, the
            seeds share the images; all other dimensions become rows. A seed that is NaN throughout
            a row was not measured there.
        by: "group": ``norm`` (all classes), then each name in the coordinate ``group``;
            "norm": all classes alone; "class": each class; ``("tail", "head")``: the first group
            less the second; ``{"name": [labels]}``: groups of your own.
        level: of the intervals, see :mod:`ltqlib.statistics.intervals`.

    Raises:
        InputError: there is no dimension ``image``, no label or group of the images, a group is
            unknown or empty, or a seed lacks images that another has.
    """
    _check(values)
    labels = values["label"].to_numpy()
    present, codes = np.unique(labels, return_inverse=True)
    groups = _groups(values, by, present)
    rows = [dim for dim in values.dims if dim not in ("seed", "image")]
    seeds = ["seed"] if "seed" in values.dims else []
    array = values.transpose(*rows, *seeds, "image").to_numpy()
    if not seeds:
        array = array[..., None, :]
    found = crossed_interval(array, codes, np.stack(list(groups.values())), level)
    names = {dim: values[dim].to_numpy() for dim in rows}
    table = table_of(found, names, list(groups), "class" if by == "class" else "group")
    table.attrs = {"level": level, "images": len(labels)}
    return table


def _check(values: xr.DataArray) -> None:
    if not isinstance(values, xr.DataArray):
        raise InputError(
            f"estimate takes a DataArray such as outcomes.right, not {type(values).__name__}"
        )
    if "image" not in values.dims:
        raise InputError(
            "estimate needs the dimension image: these values have "
            + (", ".join(map(str, values.dims)) or "none")
        )
    if 0 in values.shape:
        raise InputError("estimate was given no values: a dimension of them is empty")
    if values.dtype.kind not in "biuf" or np.isinf(values.values).any():
        raise InputError("estimate takes finite numbers, and NaN where nothing was measured")
    if "label" not in values.coords or values["label"].dims != ("image",):
        raise InputError("estimate needs the coordinate label on image: assign it to the values")


def _groups(
    values: xr.DataArray, by: By, present: npt.NDArray
) -> dict[Hashable, npt.NDArray[np.float64]]:
    """Weights over the classes present, by name of the group."""
    if isinstance(by, Mapping):
        return {name: _mean_of(members, present, str(name)) for name, members in by.items()}
    if by == "norm":
        return {"norm": np.full(len(present), 1 / len(present))}
    if by == "class":
        names = class_names(values)
        weights = np.eye(len(present))
        return {
            names[label] if names else int(label): weights[at] for at, label in enumerate(present)
        }
    members = group_members(values)
    if isinstance(by, tuple) and len(by) == 2:
        for name in by:
            if name not in members:
                raise InputError(
                    f"group {name!r} is not among the images': {', '.join(map(str, members))}"
                )
        plus, minus = (_mean_of(members[name], present, name) for name in by)
        return {f"{by[0]} - {by[1]}": plus - minus}
    if by != "group":
        raise InputError(
            f'by={by!r} is unknown: use "group", "norm", "class", ("tail", "head") or'
            ' {"name": [labels]}'
        )
    whole = {"norm": list(present)} | members
    return {name: _mean_of(labels, present, name) for name, labels in whole.items()}


def group_members(values: xr.DataArray | xr.Dataset) -> dict[str, list[int]]:
    """Labels of each group that the coordinate ``group`` names, head before tail."""
    if "group" not in values.coords or values["group"].dims != ("image",):
        raise InputError("the coordinate group on image is missing: assign it, or give by=...")
    pairs = sorted(
        {
            *zip(
                values["label"].to_numpy().tolist(),
                values["group"].to_numpy().tolist(),
                strict=True,
            )
        }
    )
    if len({label for label, _ in pairs}) < len(pairs):
        raise InputError("a class lies in two groups: every image of a class needs the same group")
    found: dict[str, list[int]] = {}
    for label, name in pairs:
        found.setdefault(str(name), []).append(label)
    known = [name for name in KNOWN_GROUPS if name in found]
    return {name: found[name] for name in (*known, *(n for n in found if n not in known))}


def class_names(values: xr.DataArray | xr.Dataset) -> list[str]:
    """Names by label from the attributes, if they are there."""
    names = values.attrs.get("classes", [])
    names = json.loads(names) if isinstance(names, str) else list(names)
    return names if len(names) > int(values["label"].max()) else []


def _mean_of(members: Sequence[int], present: npt.NDArray, name: str) -> npt.NDArray[np.float64]:
    if not len(members):
        raise InputError(f"group {name!r} is empty: name at least one class")
    if missing := [label for label in members if label not in present]:
        raise InputError(f"group {name!r}: class {missing[0]} has no test image")
    return np.isin(present, list(members)) / len(set(members))


def table_of(
    found: Interval, rows: Mapping[Hashable, npt.NDArray], groups: Sequence[Any], last: str
) -> Estimates:
    """Results of shape (*rows, groups), or (*rows,) of one group, as a table."""
    columns = (found.value, found.low, found.high, found.p_value, found.sd_seeds, found.seeds)
    levels = [pd.Index(column.tolist()) for column in rows.values()] + [pd.Index(list(groups))]
    index: pd.Index = levels[0].set_names(last)
    if rows:  # levels in the order of the rows, so that every part of the index can be looked up
        places = np.indices([len(level) for level in levels]).reshape(len(levels), -1)
        index = pd.MultiIndex(levels, list(places), names=[*rows, last])
    named = zip(STATISTICS, columns, strict=True)
    return Estimates({name: np.ravel(column) for name, column in named}, index=index)
