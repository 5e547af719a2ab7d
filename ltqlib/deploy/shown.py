"""Parts of the report as HTML. Whatever comes from outside is escaped here."""

import time
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from ltqlib import __version__
from ltqlib.deploy import findings, limits
from ltqlib.deploy.audited import Audit
from ltqlib.deploy.html import (
    Html,
    as_table,
    estimate_cell,
    interval,
    light_of,
    number,
    png,
    short_bytes,
)
from ltqlib.statistics.losses import GROUP

CONFUSIONS = 15  # rows a width


def summary(audit: Audit) -> Html:
    """Title, what was judged, and the lights."""
    about = audit.about
    name, repaired = audit.recommended
    sampled = about["images"] < about["all_images"]
    images = f"{about['images']:,}" + f" of {about['all_images']:,}" * sampled
    lights = [_width_light(audit, one, row) for one, row in _widths(audit).iterrows()]
    limit = [_limit_light(audit, one, row) for one, row in audit.verdicts.iterrows()]
    return Html(
        f"<h1>Quantization audit: {escape(about['model'])}</h1>"
        f"<p class=soft>{images} test images of {len(audit.outcomes.attrs['classes'])} classes, "
        f"{escape(about['data'])}; weights rounded by {escape(about['method'])}; "
        f"{time.strftime('%Y-%m-%d')}</p>"
        + "<p class=soft>A quick audit of a sample: intervals are wide, and small losses of "
        "single classes are not seen.</p>"
        * sampled
        + f"<h3>Does quantization hurt?</h3><ul class=lights>{''.join(lights)}</ul>"
        f"<h3>Recommended: {escape(_called(name, repaired))}, {_size(audit, name)}</h3>"
        f"<ul class=lights>{''.join(limit)}</ul>"
    )


def _widths(audit: Audit) -> Any:
    return limits.of_widths(audit.outcomes, audit.limits)


def _width_light(audit: Audit, name: Any, row: Any) -> str:
    classes = len(np.unique(audit.outcomes["label"].values))
    hurt = "No class is" if not row["hurt"] else f"{row['hurt']} of {classes} classes are"
    text = f"{hurt} significantly worse. Rare classes lose {interval(row)} points."
    return light_of(row["light"], f"{name} everywhere", text)


def _limit_light(audit: Audit, name: Any, row: Any) -> str:
    mine = limits.given(audit.limits)[name]
    wanted = "limit" if mine else "target (no limit was given)"
    if "bytes" in name:
        text = f"{short_bytes(row['value'])}; {wanted} {short_bytes(row['most'])}."
    else:
        which = f", worst {escape(row['class'])}" if isinstance(row.get("class"), str) else ""
        text = f"{interval(row)} points{which}; {wanted} {row['most']:g}."
    return light_of(row["light"], name.partition(",")[0].capitalize(), text)


def _called(name: str, repaired: bool) -> str:
    return name + ", repaired" * repaired


def _size(audit: Audit, name: str) -> str:
    sizes = audit.outcomes["size"].sel(configuration=[name, findings.FLOAT]).values
    return f"{short_bytes(sizes[0])} ({100 * sizes[0] / sizes[1]:.0f} % of float)"


def groups(audit: Audit) -> Html:
    """Loss of every group, and beyond a moved operating point, at each uniform width."""
    table: Any = audit.groups
    rows: list[list[Any]] = []
    names = table.loc["as it is"].index.unique("group")
    for one in audit.uniform:
        moved = [("at equal head", one, GROUP), ("at best point", one, "norm")]
        beyond = [estimate_cell(table.loc[key]) for key in moved]
        for how, more in (("as it is", beyond), ("repaired", ["", ""])):
            cells = [estimate_cell(table.loc[(how, one, name)]) for name in names]
            rows.append([escape(one), how, *cells, *more])
    told = f"Points, 95 % intervals over {audit.about['images']:,} test images; one model."
    heads = ["bits", "model", *("all classes" if n == "norm" else n for n in names)]
    heads += ["rare, at equal head accuracy", "all classes, at best points"]
    return as_table(heads, rows, told, text=2)


def classes(audit: Audit) -> Html:
    """Every class at each uniform width; sortable."""
    tables: dict[str, Any] = {one: audit.classes(one) for one in audit.uniform}
    first = next(iter(tables.values()))
    known = bool(first["training"].notna().all())
    rows: list[list[Any]] = []
    for name, row in first.iterrows():
        start: list[Any] = [escape(str(name)), escape(row["group"])]
        start += [number(row["training"], 0)] * known
        start += [number(row["images"], 0), number(row["float"], 1)]
        rows.append(start + [_loss(table.loc[name]) for table in tables.values()])
    heads = ["class", "group", *["training images"] * known, "test images", "float accuracy"]
    heads += [f"lost, {one}" for one in tables]
    return as_table(heads, rows, "Points lost, with 95 % intervals of each class.", 2, sort=True)


def confusions(audit: Audit) -> Html:
    """The calls that changed most often, at the fewest bits."""
    one = audit.uniform[-1]
    table, flips = audit.confusions(one), audit.flips(one)["change"].value_counts()
    rows = [
        [*(escape(str(row[k])) for k in ("class", "group", "float", "now", "change")),
         number(row["images"], 0)]
        for _, row in table.head(CONFUSIONS).iterrows()
    ]  # fmt: skip
    counts = [f"{flips.get(kind, 0):,}" for kind in ("lost", "gained", "other")]
    told = f"{escape(one)}: {counts[0]} images were lost, {counts[1]} gained, {counts[2]} are wrong"
    heads = ["true class", "group", "float calls it", f"{one} calls it", "change", "images"]
    return as_table(heads, rows, f"{told} before and after.", text=5, sort=True)


def examples(audit: Audit) -> Html:
    """Images that the fewest bits lost, rare classes first."""
    one, found = audit.examples.attrs["configuration"], audit.flips(audit.uniform[-1])
    found = found.set_index("image")
    parts = []
    for at, pixels in zip(
        audit.examples["image"].values, audit.examples["pixels"].values, strict=True
    ):
        row = found.loc[at]
        words = f"{escape(str(row['class']))}, now called {escape(str(row['now']))}"
        parts.append(
            f"<figure><img alt='' src='{png(pixels)}'><figcaption>{words}</figcaption></figure>"
        )
    if not parts:
        return Html("<p>No image was lost.</p>")
    title = f"<h3>Images that {escape(one)} lost, rare classes first</h3>"
    return Html(f"{title}<div class=examples>{''.join(parts)}</div>")


def sensitivity(audit: Audit) -> Html:
    """Layers by the loss of the rare classes at the fewest bits."""
    table, bits, config = audit.sensitivity, sorted(audit.about["bits"]), audit.bit_config
    rows = []
    for layer in config:
        mine = table.loc[layer]
        losses = [number(mine.loc[b, g], 1) for b in bits for g in ("norm", "tail")]
        parameters = number(mine["parameters"].iloc[0], 0)
        rows.append([escape(layer), parameters, *losses, number(config[layer], 0)])
    heads = ["layer", "weights", *(f"{g}, {b} bits" for b in bits for g in ("all", "rare"))]
    return as_table([*heads, "chosen bits"], rows, _skipped(audit), sort=True)


def _skipped(audit: Audit) -> str:
    skipped = audit.about["skipped"]
    told = "; ".join(f"{escape(name)}: {escape(why)}" for name, why in skipped.items())
    return f"Not quantized: {told}." if skipped else "Every layer with weights is quantized."


def candidates(audit: Audit) -> Html:
    """Everything that could be shipped, smallest first, judged on the other half."""
    table: Any = audit.candidates
    rows: list[list[Any]] = []
    marked = []
    for (name, repaired), row in table.iterrows():
        marked.append((name, repaired) == audit.recommended)
        size = (short_bytes(row["size"]), row["size"])
        tail = (interval(row.rename({"lost": "value"})), row["lost"])
        columns = [number(row["mean_bits"], 2), size, tail, number(row["norm"], 1)]
        rows.append([escape(_called(name, repaired)), *columns, number(row["worst"], 1)])
    heads = ["model", "bits a weight", "size", "rare classes lose", "all classes lose"]
    best = escape(audit.best_method)
    told = f"Points, 95 % intervals. At the fewest bits, {best} loses least on the half that chose."
    return as_table([*heads, "worst class loses"], rows, told, sort=True, marked=marked)


def other_tests(audit: Audit) -> Html:
    """Accuracy of head and tail on the other test sets."""
    if not audit.others:
        return Html("")
    rows = []
    for test, found in {"the test images": audit.outcomes, **audit.others}.items():
        table: Any = findings.of_sides(found)
        for one in (findings.FLOAT, *audit.uniform):
            cells = [estimate_cell(table.loc[(one, side)]) for side in ("head", "tail")]
            rows.append([escape(test), escape(one), *cells])
    heads = ["test set", "model", "frequent classes", "rare classes"]
    title = "<h2>Other test sets</h2>"
    return Html(title + as_table(heads, rows, "Accuracy in percent, 95 % intervals.", 2, sort=True))


def card(audit: Audit) -> Html:
    """A model card of the recommended model (after Mitchell et al., 2019)."""
    about, (name, repaired) = audit.about, audit.recommended
    exported = about.get("exported") or {}
    names = audit.outcomes.attrs["classes"]
    files = ", ".join(str(exported[k]) for k in ("packed", "onnx") if exported.get(k)) or "none"
    agree, method = exported.get("agree"), _method(audit, name)
    told = {
        "Model": f"{about['model']} (weights {about['digest']})",
        "Quantization": f"{_called(name, repaired)}, method {method}; inputs of layers "
        + ("quantized" if method.startswith("wa-") else "float32"),
        "Size": _size(audit, name) + _on_disk(exported),
        "Files": files + (f" ({exported['problem']})" if exported.get("problem") else ""),
        "Runtime": "not checked" if agree is None else
        f"ONNX Runtime calls {100 * agree:.1f} % of the images checked as this report does",
        "Intended use": "that of the float model; the classes whose loss is bold above need a look",
        "Judged on": f"{about['images']:,} test images ({about['data']})",
        "Frequent classes": _few([names[k] for k in about["head"]]),
        "Not judged": _few(about["absent"]) or "every class has test images",
        "Class shares matched on": f"{about['unlabelled']:,} images without labels; they must have "
        "the mix of classes that the model will meet",
        "Limits": "one model, one test set: another training run may lose elsewhere; intervals are "
        "over images alone",
        "Made by": f"ltqlib {__version__}, in {about['seconds']:.0f} seconds",
    }  # fmt: skip
    rows = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in told.items())
    return Html(f"<dl>{rows}</dl>")


def _on_disk(exported: dict[str, Any]) -> str:
    return f"; {short_bytes(exported['bytes'])} on disk" if "bytes" in exported else ""


def _method(audit: Audit, name: str) -> str:
    return str(audit.outcomes["method"].sel(configuration=name).item())


def _few(names: Sequence[str], most: int = 20) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(str, names[:most])) + more


def _loss(row: Any) -> tuple[str, float]:
    mark = "hurt" if row["hurt"] else "gained" if row["gained"] else ""
    text, _ = estimate_cell(row.rename({"lost": "value"}))
    return f"<span class='{mark}'>{text}</span>", row["lost"]
