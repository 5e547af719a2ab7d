"""Figures of the report: SVG that takes the colours of the page, light or dark."""

import io
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from ltqlib.deploy.audited import Audit
from ltqlib.deploy.html import Html
from ltqlib.paper.marks import COLORS, MARKERS, name_marks, reach
from ltqlib.paper.style import FAINT, HEAD, INK, NORM, TAIL, new_figure
from ltqlib.statistics.losses import GROUP

NAMED = {INK: "var(--ink)", NORM: "var(--soft)", FAINT: "var(--faint)", HEAD: "var(--head)",
         TAIL: "var(--tail)"}  # fmt: skip


def groups(audit: Audit) -> Html:
    """Points lost by head and tail at each width: as it is, repaired, at equal head accuracy."""
    widths = audit.uniform
    table: Any = audit.groups
    figure = new_figure(3.4)
    axes = figure.subplots()
    first, rest = _sides(audit)
    shown = [
        ("as it is", first, "frequent classes", "head", "full"),
        ("as it is", rest, "rare classes", "tail", "full"),
        ("repaired", rest, "rare, repaired", "tail", "left"),
        ("at equal head", GROUP, "rare, at equal head accuracy", "tail", "none"),
    ]
    for number, (how, group, label, side, fill) in enumerate(shown):
        rows = table.xs(group, level="group").loc[how].loc[widths]
        places = np.arange(len(widths)) + 0.16 * (number - 1.5)
        looks: dict[str, Any] = {"color": COLORS[side], "marker": MARKERS[side], "fillstyle": fill}
        axes.errorbar(places, rows["value"], yerr=reach(rows), ls="none", capsize=3, label=label,
                      **looks)  # fmt: skip
    axes.axhline(0, color=NORM, lw=0.8)
    axes.grid(axis="y")
    axes.set_xticks(range(len(widths)), widths)
    axes.set_ylabel("points lost")
    name_marks(axes, 2)
    told = "Points lost against float; the zero line is the float model. Bars are 95 % intervals."
    return _svg(figure, told, "Points lost by frequent and rare classes at each width.")


def sizes(audit: Audit) -> Html:
    """What the rare classes lose over the size of the model, everything that could be shipped."""
    figure = new_figure(3.4)
    axes = figure.subplots()
    table: Any = audit.candidates
    looks = {
        "uniform": ("o", "uniform width"),
        "mixed": ("s", "mixed"),
        "method": ("^", "other method"),
    }
    for repaired, fill in ((False, "full"), (True, "none")):
        rows = table.xs(repaired, level="repaired")
        for kind, (marker, label) in looks.items():
            mine = rows[rows["kind"] == kind]
            axes.plot(mine["size"] / 1e6, mine["lost"], marker, color=TAIL, fillstyle=fill,
                      label=label + ", repaired" * repaired)  # fmt: skip
    chosen = table.loc[audit.recommended]
    axes.errorbar(chosen["size"] / 1e6, chosen["lost"], marker="o", ms=14, mfc="none", color=INK,
                  yerr=[[chosen["lost"] - chosen["low"]], [chosen["high"] - chosen["lost"]]],
                  ls="none", label="recommended")  # fmt: skip
    axes.axhline(0, color=NORM, lw=0.8)
    axes.grid()
    axes.set_xlabel("model file (MB)")
    axes.set_ylabel("rare classes: points lost")
    name_marks(axes, 3)
    told = "Left and low is better. Judged on the half of the test images that did not choose."
    return _svg(figure, told, "Points lost by rare classes over the size of the model.")


def _sides(audit: Audit) -> tuple[str, str]:
    """The head's group, and the rarest one."""
    names = list(audit.about["groups"])
    first = "head" if "head" in names else next(name for name in names if name != "tail")
    return first, ("tail" if "tail" in names else names[-1])


def _svg(figure: Figure, caption: str, alt: str) -> Html:
    held = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "ltq"}):
        figure.savefig(held, format="svg", transparent=True, metadata={"Date": None})
    text = held.getvalue()
    text = text[text.index("<svg") :].replace("<svg ", f"<svg role='img' aria-label='{alt}' ", 1)
    for colour, named in NAMED.items():
        text = text.replace(colour, named)
    return Html(f"<figure>{text}<figcaption>{caption}</figcaption></figure>")
