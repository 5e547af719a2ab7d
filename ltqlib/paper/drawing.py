"""Parts of drawings: an empty canvas, boxes with a label, arrows, notes."""

from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

from ltqlib.paper.style import BODY, INK, NORM

TITLE = 13.0  # points: titles and labels inside a drawing

Point = tuple[float, float]


def canvas(axes: Axes, width: float, height: float) -> None:
    """Axes without frame, to draw on in free units."""
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.axis("off")


def box(
    axes: Axes,
    centre: Point,
    width: float,
    height: float,
    text: str,
    fill: str = "white",
    hatch: str = "",
) -> None:
    """A rounded box with a centred label."""
    patch = FancyBboxPatch(
        (centre[0] - width / 2, centre[1] - height / 2),
        width,
        height,
        boxstyle="round,pad=0,rounding_size=0.35",
        facecolor=fill,
        edgecolor=NORM,
        hatch=hatch,
        linewidth=1.6,
    )
    axes.add_patch(patch)
    label = axes.text(*centre, text, ha="center", va="center", fontsize=TITLE)
    if hatch:
        label.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 3})


def arrow(axes: Axes, start: Point, end: Point) -> None:
    """A straight arrow in ink."""
    looks = {"arrowstyle": "-|>", "color": INK, "lw": 1.4, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", xy=end, xytext=start, arrowprops=looks)


def note(axes: Axes, where: Point, text: str) -> None:
    """A line of text in italics, centred."""
    axes.text(*where, text, ha="center", va="center", fontsize=BODY, style="italic")
