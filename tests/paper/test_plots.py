"""Figures show the numbers they were given, and are drawn without a warning."""

import io
import itertools
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.figure import Figure

import ltqlib as ltq
from ltqlib.paper import claims, overview, plots
from ltqlib.paper.style import HEAD, TAIL
from ltqlib.statistics import Estimates, over_seeds


def render(figure: Figure) -> int:
    """Bytes of the figure as PNG; warnings are errors in this suite."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.tell()


def along(outcomes: xr.Dataset, name: str, values: list[Any]) -> xr.DataArray:
    """The float networks, once for each value of a new dimension."""
    right = outcomes.right.sel(bits=32, drop=True)
    return xr.concat([right] * len(values), pd.Index(values, name=name))


def lost(outcomes: xr.Dataset) -> xr.DataArray:
    return outcomes.right.sel(bits=32) - outcomes.right


def marks(figure: Figure, panel: int = 0) -> list[list[float]]:
    """Heights of the marks with intervals, in the order they were drawn."""
    containers = figure.axes[panel].containers
    return [list(c.lines[0].get_ydata()) for c in containers]  # type: ignore[attr-defined]


def hollow(figure: Figure, panel: int = 0) -> list[float]:
    """Heights of the post's marks."""
    lines = [x for x in figure.axes[panel].lines if x.get_markerfacecolor() == "none"]
    return [float(y) for line in lines for y in np.ravel(line.get_ydata()) if np.isfinite(y)]


def test_accuracy_over_imbalance(outcomes: xr.Dataset) -> None:
    right = along(outcomes, "imbalance factor", [0.1, 0.01]).sel(model="baseline", drop=True)
    accuracy = ltq.estimate(right, by="group")
    figure = plots.over_imbalance(accuracy, {0.1: [1, 2, 3]})
    for drawn, group in zip(marks(figure), ("norm", "head", "tail"), strict=True):
        assert drawn == list(accuracy.xs(group, level="group")["value"])
    assert hollow(figure) == [1, 2, 3]
    assert render(figure) > 10_000


def test_decoupling_is_a_pair_of_bars_a_factor(outcomes: xr.Dataset) -> None:
    right = along(outcomes, "imbalance factor", [0.1, 0.01])
    right = right.assign_coords(model=["baseline", "crt"])
    accuracy = ltq.estimate(right, by="group")
    figure = plots.decoupling_bars(accuracy, {"baseline": {0.1: [1, 2, 3]}})
    heights = [patch.get_height() for patch in figure.axes[0].patches[:4]]  # type: ignore[attr-defined]
    expected = [
        accuracy.loc[(0.1, model, group), "value"]
        for model in ("baseline", "crt")
        for group in ("head", "tail")
    ]
    assert heights == expected
    assert hollow(figure) == [2, 3]
    assert render(figure) > 10_000


def test_bits_from_float_to_few(outcomes: xr.Dataset) -> None:
    accuracy = ltq.estimate(outcomes.right, by="group")
    figure = plots.bits_curve(accuracy, {"cRT": {6: [88.0, 40.0], 2: [1.0, 1.0]}})
    for panel, model in enumerate(("baseline", "cRT")):
        for drawn, group in zip(marks(figure, panel), ("head", "tail"), strict=False):
            assert drawn == list(accuracy.loc[model].xs(group, level="group")["value"])
    assert hollow(figure, 0) == []
    assert hollow(figure, 1) == [88.0, 40.0]  # the width that is not here is left out
    labels = [text.get_text() for text in figure.axes[0].get_xticklabels()]
    assert labels == ["float", "6", "5", "4"]
    assert render(figure) > 10_000


def test_two_losses_and_the_marks_that_are_missing(outcomes: xr.Dataset) -> None:
    plain, equal = ltq.estimate(lost(outcomes), by="group"), ltq.lost_at_equal_head(outcomes)
    equal[["value", "low", "high"]] = [1.0, 0.5, 2.0]
    unreached = [index[:2] == ("cRT", 4) for index in equal.index]
    equal.loc[unreached, ["value", "low", "high"]] = np.nan
    figure = plots.two_losses(plain, equal)
    head, tail, level = marks(figure, 1)
    assert head == [plain.loc[("cRT", bits, "head"), "value"] for bits in (6, 5, 4)]
    assert tail == [plain.loc[("cRT", bits, "tail"), "value"] for bits in (6, 5, 4)]
    np.testing.assert_array_equal(level, [1.0, 1.0, np.nan])
    assert render(figure) > 10_000


def test_curves_pass_through_the_networks_as_they_are(outcomes: xr.Dataset) -> None:
    curves = ltq.head_tail_curve(outcomes.sel(model="baseline"))
    figure = plots.head_tail_curves(curves, curves.sel(offset=0))
    (axes,) = figure.axes
    lines = [line for line in axes.lines if len(np.asarray(line.get_xdata())) > 1]
    dots = [line for line in axes.lines if len(np.asarray(line.get_xdata())) == 1]
    assert len(lines) == len(dots) == 4
    for line, dot in zip(lines, dots, strict=True):
        distance = np.abs(line.get_xydata() - dot.get_xydata()).sum(1)
        assert distance.min() == pytest.approx(0)
    assert render(figure) > 10_000


def test_every_seed_and_all_together(outcomes: xr.Dataset) -> None:
    few = lost(outcomes).sel(bits=[6, 5, 4])
    each = ltq.estimate(few.rename(seed="one seed"), by=("tail", "head"))
    together = ltq.estimate(few, by=("tail", "head"))
    figure = plots.by_seed(each, together)
    *seeds, whole = marks(figure, 0)
    assert len(seeds) == 3
    assert whole == list(together.loc["baseline"]["value"])
    assert np.mean(seeds, axis=0) == pytest.approx(whole)
    assert render(figure) > 10_000


@pytest.fixture(scope="module")
def layers(outcomes: xr.Dataset) -> Estimates:
    """Losses of three layers at one width."""
    few = lost(outcomes).sel(model="cRT", bits=[6, 5, 4], drop=True)
    few = few.rename(bits="layer").assign_coords(layer=["L1", "L2", "L3"])
    return ltq.estimate(few, by="group")


def test_sensitivity_of_layers(layers: Estimates) -> None:
    figure = plots.sensitivity_bars(layers)
    heights = [patch.get_height() for patch in figure.axes[0].patches]  # type: ignore[attr-defined]
    assert heights == [
        layers.loc[(layer, group), "value"]
        for group in ("head", "tail")
        for layer in ("L1", "L2", "L3")
    ]
    assert render(figure) > 5_000


def test_layers_that_move_three_ranks_are_red() -> None:
    names = [f"L{n}" for n in range(1, 6)]
    ranks = pd.DataFrame({"norm": [1, 2, 3, 4, 5], "tail": [5, 1, 2, 3, 4]}, index=names)
    figure = plots.rank_changes(ranks)
    drawn = {tuple(line.get_ydata()): line.get_color() for line in figure.axes[0].lines[:5]}
    assert [color == TAIL for color in drawn.values()] == [True, False, False, False, False]
    assert render(figure) > 5_000


def test_mixed_precision_beside_random_rankings(outcomes: xr.Dataset) -> None:
    names = ["norm", "tail", "curve"]
    chosen = outcomes.sel(model="cRT", drop=True).rename(bits="configuration")
    chosen = chosen.assign_coords(configuration=["float", *names])
    plain = chosen.right.sel(configuration="float") - chosen.right
    tables = (
        ltq.estimate(plain, by="group"),
        ltq.lost_at_equal_head(chosen, {"configuration": "float"}),
    )
    both = pd.concat(tables).loc[names]
    figure = plots.mixed_gains(both, [1.0, 2.0])
    assert marks(figure)[1] == list(both.xs("tail", level="group").loc[names, "value"])
    assert list(figure.axes[0].lines[-2].get_ydata()) == [1.0, 2.0]
    assert render(figure) > 5_000


def test_what_ranking_by_the_tail_changes_one_row_a_network(outcomes: xr.Dataset) -> None:
    less = outcomes.right.sel(bits=4) - outcomes.right.sel(bits=32)
    table = ltq.estimate(less, by="group").rename_axis(index={"model": "network"})
    at_level = table.xs("tail", level="group", drop_level=False)
    both = pd.concat([table, at_level.rename({"tail": "tail, equal head"}, level="group")])
    figure = plots.ranking_gains(both)
    axes = figure.axes[0]
    names = list(dict.fromkeys(table.index.get_level_values("network")))
    assert [label.get_text() for label in axes.get_yticklabels()] == names
    drawn = [bars.lines[0].get_xdata() for bars in axes.containers]
    expected = [both.xs(group, level="group").loc[names, "value"] for group in ("head", "tail")]
    np.testing.assert_array_equal(drawn, [*expected, expected[1]])
    assert render(figure) > 5_000


def test_accuracy_by_class_and_the_difference(outcomes: xr.Dataset) -> None:
    pair = outcomes.right.sel(model="cRT", bits=[6, 4], drop=True).rename(bits="configuration")
    pair = pair.assign_coords(configuration=["norm", "tail"])
    change = pair.sel(configuration="tail") - pair.sel(configuration="norm")
    table = ltq.estimate(change, by="class")
    ten = list(range(50, 60))
    figure = plots.class_accuracy(ltq.estimate(pair, by="class"), table, (ten, ten))
    heights = [patch.get_height() for patch in figure.axes[1].patches]  # type: ignore[attr-defined]
    assert heights == list(table["value"])
    assert hollow(figure)[:20] == [*ten, *ten]
    assert render(figure) > 10_000


def over_length(several: xr.Dataset) -> tuple[Figure, Estimates]:
    """The figure, and what is lost as it is."""
    accuracy = ltq.estimate(several.right.sel(bits=32), by="group")
    plain = ltq.estimate(several.right.sel(bits=32) - several.right, by="group")
    return plots.over_length(accuracy, plain, ltq.lost_at_equal_head(several)), plain


def test_losses_over_the_length_of_training(outcomes: xr.Dataset) -> None:
    one = outcomes.sel(model="baseline", drop=True)
    long = xr.concat([one, one], pd.Index([12, 200], name="passes"))
    figure, plain = over_length(long)
    drawn = marks(figure, 1)[:2]
    assert drawn == [
        list(plain.xs(4, level="bits").xs(group, level="group")["value"])
        for group in ("head", "tail")
    ]
    assert render(figure) > 10_000


def test_long_names_of_losses_do_not_run_into_each_other(outcomes: xr.Dataset) -> None:
    one = outcomes.sel(model="baseline", drop=True)
    names = ["cross-entropy", "balanced softmax", "LDAM-DRW"]
    several = xr.concat([one] * 3, pd.Index(names, name="loss"))
    figure, _ = over_length(several)
    render(figure)
    for axes in figure.axes:
        boxes = [text.get_window_extent() for text in axes.get_xticklabels()]
        assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))


def test_the_repair_over_the_number_of_images(outcomes: xr.Dataset) -> None:
    one = lost(outcomes).sel(model="baseline", bits=[6, 5, 4], drop=True)
    sizes = one.rename(bits="images").assign_coords(images=[100, 1000, 5000])
    mixes = xr.concat([sizes, sizes], pd.Index(["balanced", "long-tailed"], name="mix"))
    plain = ltq.estimate(one.sel(bits=4), by="group")
    figure = plots.repair_sizes(ltq.estimate(mixes, by="group"), plain)
    assert [axes.get_title("left") for axes in figure.axes] == ["balanced", "long-tailed"]
    labels = [text.get_text() for text in figure.axes[0].get_xticklabels()]
    assert labels == ["100", "1,000", "5,000"]
    assert render(figure) > 10_000


def test_claims_are_coloured_by_their_verdict() -> None:
    first, second = claims.CLAIMS[:2]
    tests = (claims.Difference("gap", 3.0, 1.0, 5.0),)
    ranks = claims.Difference("ranks", 0.1, 0.0, 0.2, unit="Spearman")
    results = [
        claims.Result(first, "reproduced", (*tests, ranks)),
        claims.Result(second, "not yet measured", ()),
    ]
    figure = plots.claims_forest(overview.ledger(results))
    (mark,) = figure.axes[0].containers
    assert list(mark.lines[0].get_xdata()) == [3.0]  # type: ignore[attr-defined]
    assert mark.lines[0].get_color() == HEAD  # type: ignore[attr-defined]
    assert render(figure) > 5_000


def test_a_class_is_followed_through_its_frequencies() -> None:
    shown = xr.DataArray(
        np.arange(2 * 2 * 3 * 4.0).reshape(2, 2, 3, 4),
        dims=("measure", "order", "seed", "class"),
        coords={"measure": ["accuracy", "lost"],
                "count": (("order", "class"), [[8, 4, 2, 1], [1, 2, 4, 8]]),
                "name": ("class", list("abcd"))},
    )  # fmt: skip
    figure = plots.over_frequency(shown)
    line = figure.axes[1].lines[0]  # class a has one image in the second order, eight in the first
    mean = shown.mean("seed").sel(measure="lost", **{"class": 0})
    assert list(line.get_xdata()) == [1, 8]
    assert list(line.get_ydata()) == [float(mean[1]), float(mean[0])]
    assert render(figure) > 10_000


def test_rounding_beside_noise_of_equal_strength(outcomes: xr.Dataset) -> None:
    loss = lost(outcomes).sel(model="baseline", bits=[6, 4], drop=True)
    table = ltq.estimate(loss.rename(bits="passes"), by="group")
    layers = xr.DataArray([[1.0, 3.0], [2.0, 6.0]], dims=("passes", "layer"),
                          coords={"passes": [6, 4]})  # fmt: skip
    error = over_seeds(layers.rename(layer="seed"))
    figure = plots.rounding_and_noise(table, 2 * table, error, layers)
    tail = list(table.xs("tail", level="group")["value"])
    assert marks(figure, 0)[1] == tail
    assert marks(figure, 1)[1] == [2 * value for value in tail]
    assert marks(figure, 2)[0] == [2, 4]
    assert render(figure) > 10_000


def test_shipping_shows_size_and_time_of_every_configuration() -> None:
    rows = pd.DataFrame(
        {"kind": ["float", "weights", "weights"], "tail": [50.0, 49.0, 40.0],
         "megabytes": [4.0, 1.0, 0.5], "ms": [0.4, 0.4, 0.3], "low": [0.3, 0.35, 0.2],
         "high": [0.5, 0.45, 0.4]}
    ).set_index("kind")  # fmt: skip
    figure = plots.shipping(rows)
    sizes = figure.axes[0]
    drawn = [(x, y) for line in sizes.lines for x, y in zip(*line.get_data(), strict=True)]
    assert drawn == list(zip(rows["megabytes"], rows["tail"], strict=True))
    assert marks(figure, 1) == [[50.0], [49.0, 40.0]]
    assert render(figure) > 10_000
