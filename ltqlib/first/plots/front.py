"""Size against accuracy of every allocation: for print, and with what the mouse brings up."""

from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from ltqlib.first.style import ACCENT, BODY, HEAD, INK, NORM, TAIL, new_figure

# (matplotlib's marker, plotly's symbol, colour)
LOOKS = {
    "uniform": ("s", "square", INK),
    "ranking": ("^", "triangle-up", HEAD),
    "random ranking": ("x", "x-thin-open", NORM),
    "greedy": ("v", "triangle-down", ACCENT),
    "exact": ("D", "diamond", TAIL),
    "exact, other scores": ("o", "circle", ACCENT),
    "exact, layers shuffled": ("+", "cross-thin-open", NORM),
}
OTHER = (".", "circle", ACCENT)
TITLES = {"norm": "all classes", "tail": "tail", "worst": "worst class"}
NEUTRAL = "#8a94a3"  # text and lines that can be read on white and on the dark theme
# drawn while the page is read: once it is laid out the figure fits its column
FIT = "window.addEventListener('load', () => Plotly.Plots.resize('{plot_id}'));"
SCRIPT = "_static/plotly.min.js"  # from the book itself; book/_ext/interactive_figures.py


def front(table: pd.DataFrame, floating: dict[str, float]) -> Figure:
    """Test accuracy over average weight bits, a panel a measure, a mark an allocation.

    Args:
        table: as :func:`ltqlib.first.front.front_table` makes it.
        floating: accuracy of the float model by measure, percent.
    """
    figure = new_figure(3.9)
    for axes, (measure, title) in zip(figure.subplots(1, 3), TITLES.items(), strict=True):
        axes.axhline(floating[measure], color=NORM, ls="--", lw=1, label="float")
        for family, rows in table.groupby("family", sort=False):
            marker, _, color = LOOKS.get(str(family), OTHER)
            axes.plot(
                rows["bits"], rows[measure], marker, ms=5, ls="none", color=color, label=family
            )
        axes.set_title(title)
        axes.grid(axis="y")
    first = figure.axes[0]
    first.set_ylabel("test accuracy (%)")
    figure.supxlabel("average weight bits", fontsize=BODY)
    figure.legend(*first.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


@dataclass(frozen=True)
class Page:
    """HTML that a notebook shows; where there is none, ``text``."""

    html: str
    text: str

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.text


def front_interactive(table: pd.DataFrame, floating: dict[str, float]) -> Page:
    """The same marks in a page: the mouse brings up the widths, buttons switch the measure.

    The page holds the data alone. plotly's script, four megabytes, comes from the built book; a
    notebook elsewhere shows the static figure.
    """
    import plotly.io  # here, not above: half a second that no other figure needs

    spec = {"data": _traces(table, floating), "layout": _layout(table, floating)}
    html = plotly.io.to_html(
        spec,
        config={"responsive": True, "displayModeBar": False},
        include_plotlyjs=SCRIPT,
        full_html=False,
        div_id="front-interactive",
        default_height="34rem",
        post_script=FIT,
        validate=True,
    )
    return Page(f'<div class="interactive">{html}</div>', f"{len(table)} allocations, interactive")


def _traces(table: pd.DataFrame, floating: dict[str, float]) -> list[dict[str, Any]]:
    """One a family, and the float model's level last; plotly's format."""
    traces: list[dict[str, Any]] = []
    for family, rows in table.groupby("family", sort=False):
        _, symbol, color = LOOKS.get(str(family), OTHER)
        color = NEUTRAL if color in (INK, NORM) else color
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": family,
                "x": rows["bits"].round(4).tolist(),
                "y": _levels(rows, "norm"),
                "customdata": [_hover(row) for row in rows.to_dict("records")],
                "hovertemplate": "%{customdata}<extra></extra>",
                "marker": {"symbol": symbol, "color": color, "size": 10,
                           "line": {"color": color, "width": 2}},
            }
        )  # fmt: skip
    ends = [float(table["bits"].min()), float(table["bits"].max())]
    traces.append(
        {
            "type": "scatter",
            "mode": "lines",
            "name": "float",
            "x": ends,
            "y": [floating["norm"]] * 2,
            "hovertemplate": "float model: %{y:.1f} %<extra></extra>",
            "line": {"color": NEUTRAL, "dash": "dash", "width": 1},
        }
    )
    return traces


def _levels(rows: pd.DataFrame, measure: str) -> list[float]:
    return rows[measure].round(3).tolist()


def _hover(row: dict[Any, Any]) -> str:
    """What is said of one allocation."""
    parts = row["widths"].split(", ")
    lines = [", ".join(parts[at : at + 6]) for at in range(0, len(parts), 6)]
    return "<br>".join(
        [
            f"<b>{row['family']}</b>: {row['name']}",
            f"{row['bits']:.2f} bits a weight, {row['kilobytes']:.0f} kB",
            *(f"{title}: {row[measure]:.1f} %" for measure, title in TITLES.items()),
            *lines,
        ]
    )


def _layout(table: pd.DataFrame, floating: dict[str, float]) -> dict[str, Any]:
    clear = "rgba(0,0,0,0)"
    grid = {"gridcolor": "rgba(138,148,163,0.3)", "zeroline": False, "automargin": True}
    families = [rows for _, rows in table.groupby("family", sort=False)]
    buttons = [
        {
            "label": title,
            "method": "update",
            "args": [
                {"y": [*(_levels(rows, measure) for rows in families), [floating[measure]] * 2]},
                {"yaxis.title.text": f"{title}: test accuracy (%)"},
            ],
        }
        for measure, title in TITLES.items()
    ]
    return {
        "paper_bgcolor": clear,
        "plot_bgcolor": clear,
        "font": {"color": NEUTRAL, "size": 14},
        "margin": {"l": 10, "r": 10, "t": 50, "b": 10},
        "hovermode": "closest",
        "hoverlabel": {"align": "left", "bgcolor": "#ffffff", "font": {"color": INK}},
        "xaxis": {"title": {"text": "average weight bits"}, **grid},
        "yaxis": {"title": {"text": "all classes: test accuracy (%)"}, **grid},
        "legend": {"orientation": "h", "y": -0.2},
        "updatemenus": [
            {"type": "buttons", "direction": "right", "buttons": buttons, "showactive": False,
             "bgcolor": "rgba(138,148,163,0.2)", "x": 0, "xanchor": "left", "y": 1.02,
             "yanchor": "bottom", "pad": {"t": 0, "b": 4}}
        ],
    }  # fmt: skip
