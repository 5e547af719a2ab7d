"""Drawings and the figure of class counts: they are drawn, and show what they should."""

from collections.abc import Callable

import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

import ltqlib as ltq
from ltqlib.paper import diagrams, plots
from ltqlib.paper.plots.counts import ranked
from ltqlib.paper.style import HEAD, SMALL, TAIL


@pytest.mark.parametrize(
    "draw",
    [
        diagrams.methods_and_applications,
        diagrams.decoupling,
        diagrams.uniform_grid,
        diagrams.layer_sensitivity,
    ],
)
def test_drawings_can_be_read(draw: Callable[[], Figure]) -> None:
    figure = draw()
    figure.canvas.draw()  # type: ignore[attr-defined]
    words = [text for axes in figure.axes for text in axes.texts if text.get_text()]
    assert words
    assert min(text.get_fontsize() for text in words) >= SMALL


def bars(figure: Figure) -> list[tuple[float, str]]:
    patches = figure.axes[0].patches
    return [(p.get_height(), to_hex(p.get_facecolor())) for p in patches]  # type: ignore[attr-defined]


def test_one_long_tail_is_bars_in_the_colours_of_its_groups() -> None:
    data = ltq.load_data("cifar10", imbalance_factor=0.01)
    expected = [(count, HEAD if label < 4 else TAIL) for label, count in enumerate(data.counts)]
    figure = plots.class_counts(data)
    assert bars(figure) == expected
    names = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert names == list(data.classes)


def test_bars_are_sorted_by_frequency() -> None:
    data = ltq.load_data("cifar10", imbalance_factor=0.1, class_order=range(9, -1, -1))
    assert ranked(data) == list(range(9, -1, -1))
    heights = [height for height, _ in bars(plots.class_counts(data))]
    assert heights == sorted(heights, reverse=True)


def test_several_long_tails_end_at_their_rarest_class() -> None:
    sets = [ltq.load_data("cifar10", imbalance_factor=factor) for factor in (0.1, 0.02, 0.01)]
    figure = plots.class_counts(*sets)
    figure.canvas.draw()  # type: ignore[attr-defined]
    ends = [line.get_ydata()[-1] for line in figure.axes[1].lines]  # type: ignore[index]
    assert ends == [500, 100, 50]


def test_groups_of_the_readers_own() -> None:
    data = ltq.load_data("cifar10", groups={"animals": [2, 3, 4, 5, 6, 7]})
    figure = plots.class_counts(data)
    legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]  # type: ignore[union-attr]
    assert legend == ["animals", "other"]
    assert len({color for _, color in bars(figure)}) == 2
