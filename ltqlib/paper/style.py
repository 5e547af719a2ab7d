"""One look for every figure: the palette, the text sizes, and matplotlib's settings.

The palette keeps head and tail apart for readers with any common form of colour blindness (blue
against red, of different lightness); a figure still says with a word or a marker which is which.
"""

from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

HEAD = "#1b6ca8"  # frequent classes
TAIL = "#d1495b"  # rare classes
NORM = "#5c677d"  # all classes together, and whatever is neutral
ACCENT = "#edae49"  # fills only: too light for text on white
INK = "#1f2933"  # text and arrows
FAINT = "#dfe3e8"  # grids, frozen parts, backgrounds

WIDTH = 7.2  # inches: the width of the text column
LABEL, BODY, SMALL = 12.0, 11.0, 10.0  # points; nothing is smaller than SMALL

SETTINGS: dict[str, Any] = {
    "figure.dpi": 160,
    "figure.facecolor": "white",
    "figure.constrained_layout.h_pad": 0.06,
    "savefig.dpi": 160,
    "savefig.facecolor": "white",
    "font.family": "sans-serif",
    "font.size": BODY,
    "axes.titlesize": LABEL,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": BODY,
    "axes.edgecolor": NORM,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.prop_cycle": plt.cycler(color=[HEAD, TAIL, NORM, ACCENT]),
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "legend.fontsize": SMALL,
    "legend.frameon": False,
    "grid.color": FAINT,
    "lines.linewidth": 2.0,
}


def use() -> None:
    """Apply the settings to every figure made from now on."""
    plt.style.use(SETTINGS)


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """An empty figure in the book's style, ``width`` by ``height`` inches.

    Pyplot forgets it at once: a notebook shows it where it is the value of a cell, and only there.
    """
    use()
    figure = plt.figure(figsize=(width, height), layout="constrained")
    plt.close(figure)
    return figure
