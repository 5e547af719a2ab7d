"""Proxies, scores and their intervals, on benchmarks made of networks that are known."""

import numpy as np
import pytest
import xarray as xr
from bench_tables import CLASSES, LAYERS, NAMES, made
from scipy import stats

from ltqlib.allocation import average_weight_bits, bops
from ltqlib.bench import (
    PROXIES,
    TARGETS,
    added,
    agreement,
    differences,
    layer_losses,
    leaderboard,
    lost,
    proxy,
    seen,
    summary,
)
from ltqlib.bench.leaderboard import samples_of
from ltqlib.bench.proxies import average_bits, bit_operations, drop_sum, share_called_tail
from ltqlib.bench.table import EQUAL_HEAD, HALVES
from ltqlib.errors import InputError
from ltqlib.statistics.losses import lost_at_equal_head


@pytest.fixture(scope="module")
def bench() -> xr.Dataset:
    return made(0)


@pytest.fixture
def proxies():
    """The registry, as it was before when the test is over."""
    before = dict(PROXIES)
    yield PROXIES
    PROXIES.clear()
    PROXIES.update(before)


def random_of(bench: xr.Dataset) -> np.ndarray:
    return np.flatnonzero(bench.family.values == "random")


def test_costs_are_those_of_allocations(bench) -> None:
    view = seen(bench, "choose")
    parameters = dict(zip(NAMES, bench.parameters.values.tolist(), strict=True))
    macs = dict(zip(NAMES, bench.macs.values.tolist(), strict=True))
    for number in (3, 200):
        chosen = dict(zip(NAMES, view.widths.values[number].tolist(), strict=True))
        size = average_weight_bits(chosen, parameters)
        assert float(average_bits(view)[number]) == pytest.approx(-size)
        assert float(bit_operations(view)[number]) == -bops(chosen, macs, 8)


def test_labels_are_not_needed_by_proxies_that_say_so(bench) -> None:
    view = seen(bench, "choose")
    names = [name for name, each in PROXIES.items() if each.needs == "no labels"]
    assert len(names) == 4
    blind = view.drop_vars(["lost", "curve", "loss", "taylor", "fit", "hawq"])
    for name in names:
        assert PROXIES[name].function(blind).equals(PROXIES[name].function(view))
    # here images called tail are tail images called right: the share follows the loss
    tail = lost(bench, "tail", "judge")[random_of(bench)]
    assert stats.spearmanr(share_called_tail(view), tail).statistic > 0.8


def test_narrower_layers_are_never_predicted_to_lose_less() -> None:
    """Of tables that fall with the width, every proxy must."""
    view = seen(made(1, noise=False), "choose")
    uniform = view.widths[:5].copy(data=np.repeat([[3], [4], [5], [6], [8]], LAYERS, 1))
    view = view.isel(configuration=slice(5)).assign(widths=uniform)
    for name, each in PROXIES.items():
        if "Taylor" not in name:
            values = each.function(view).values
            assert (np.diff(values) <= 1e-9).all(), name
            assert values[0] > values[-1]


def test_scores_are_scipys_correlations_across_the_halves(bench) -> None:
    found = leaderboard({0: bench}, draws=5)
    assert set(found.proxy.values) == set(PROXIES)
    rows = random_of(bench)
    for name in ("accuracy drop, tail", "BOPs", "KL divergence, all"):
        for target in TARGETS:
            each = [
                stats.spearmanr(
                    PROXIES[name].function(seen(bench, one)), lost(bench, target, other)[rows]
                ).statistic
                for one, other in (HALVES, HALVES[::-1])
            ]
            score = found.sel(proxy=name, group=target, seed=0)[0]
            assert float(score) == pytest.approx(np.mean(each), abs=1e-6)


def test_a_proxy_is_added_with_a_decorator_and_scored(bench, proxies) -> None:
    @proxy("worst class of the tail")
    def worst_of_tail(seen: xr.Dataset) -> xr.DataArray:
        return added(seen, seen.lost[seen.group == "tail"].max("class"))

    @proxy("drop again", groups=("head", "norm"))
    def again(seen: xr.Dataset, group: str) -> xr.DataArray:
        return drop_sum(seen, group)

    found = leaderboard({0: bench, 1: made(1)}, draws=5)
    assert float(found.sel(proxy="worst class of the tail", group="tail")[0, 0]) > 0.5
    same = found.sel(proxy=["accuracy drop, all", "drop again, all"])
    np.testing.assert_array_equal(same.isel(proxy=0), same.isel(proxy=1))


def test_a_proxy_that_gives_something_else_is_refused(bench, proxies) -> None:
    for says, values in ((r"shape \(3,\)", np.zeros(3)), ("not finite", np.full(300, np.nan))):
        proxy("strange")(lambda view, given=values: given[: view.sizes["configuration"]])
        with pytest.raises(InputError, match=says):
            leaderboard({0: bench}, draws=2)


def test_what_was_not_measured_is_named() -> None:
    with pytest.raises(InputError, match=r"logits, tail less head' reads .*logit_gap"):
        leaderboard({0: made(0, metrics=False)}, draws=2)


def test_the_proxy_that_knows_leads() -> None:
    """Layers do something else at equal head accuracy: what measures that leads there."""
    found = summary(leaderboard({seed: made(seed) for seed in range(3)}, 50), "prefixes")
    tail, equal = (found.xs(target, level="group") for target in TARGETS)
    assert tail.loc["accuracy drop, tail", "value"] > tail.loc["average weight bits", "value"]
    assert equal["value"].idxmax() == "tail at equal head"
    assert ((found["low"] < found["value"]) & (found["value"] < found["high"])).all()
    assert "3 seeds and prefixes" in found.note()


def test_clusters_are_drawn_together() -> None:
    cluster = np.repeat([7, 3, 9], 4)
    found = samples_of(cluster, 30)
    np.testing.assert_array_equal(found[0], np.arange(12))
    for row in found[1:]:
        counts = np.bincount(row, minlength=12).reshape(3, 4)
        assert (counts == counts[:, :1]).all()
    assert len({tuple(row) for row in found}) > 5


def test_intervals_cover_seeds_and_draws() -> None:
    """A score made of a truth, a shift that seeds share, and one of their own."""
    rng, truth, held = np.random.default_rng(0), 0.4, 0
    for _ in range(300):
        shared, own = rng.normal(0, 0.05), rng.normal(0, 0.05, 4)
        draws = np.r_[0, rng.normal(0, 0.05, 200)][:, None]
        values = truth + shared + own + draws
        samples = xr.DataArray(values[..., None], {"group": ["tail"]}, ("draw", "seed", "group"))
        low, high = summary(samples, "images")[["low", "high"]].to_numpy()[0]
        held += low <= truth <= high
    assert 0.93 <= held / 300 <= 0.995


# ---- one layer at a time


@pytest.fixture(scope="module")
def alone() -> xr.Dataset:
    """Outcomes of three layers at 6 and 4 bits, two seeds; layer 3 hurts most."""
    rng = np.random.default_rng(0)
    labels = np.tile(np.arange(CLASSES), 40)
    base = 2.0 * np.eye(CLASSES)[labels] + rng.normal(size=(2, 1, 1, len(labels), CLASSES))
    size = np.outer([0.2, 0.5, 1.5], [0, 0.5, 1.0])
    logits = base + size[None, :, :, None, None] * rng.normal(size=(2, 3, 3, len(labels), CLASSES))
    head, tail = logits[..., :4], logits[..., 4:]
    dims = ("seed", "layer", "bits", "image")
    predicted = logits.argmax(-1)
    return xr.Dataset(
        {
            "right": (dims, (predicted == labels).astype(np.int8)),
            "best_head": (dims, head.argmax(-1)),
            "best_tail": (dims, 4 + tail.argmax(-1)),
            "margin": (dims, tail.max(-1) - head.max(-1)),
        },
        {
            "seed": [0, 1],
            "layer": ["a", "b", "c"],
            "bits": [32, 6, 4],
            "label": ("image", labels),
            "group": ("image", np.where(labels < 4, "head", "tail")),
            "half": ("image", np.where(np.arange(len(labels)) // CLASSES % 2, "judge", "choose")),
        },
    )


def test_losses_of_layers_are_those_of_estimates(alone) -> None:
    found = layer_losses(alone, draws=4).isel(draw=0)
    for half in HALVES:
        some = alone.isel(image=alone.half.values == half)
        right = some.right.isel(image=some.group.values == "tail").groupby("label").mean("image")
        expected = 100 * (right.sel(bits=32) - right.sel(bits=[6, 4])).mean("label")
        xr.testing.assert_allclose(
            found.sel(group="tail", half=half, drop=True)
            .transpose(*expected.dims)
            .drop_vars("bits"),
            expected.drop_vars("bits"),
        )
    level = lost_at_equal_head(alone).xs(4, level="bits")["value"].to_numpy()
    mean = found.sel(group=EQUAL_HEAD, bits=4).mean(["half", "seed"]).values
    np.testing.assert_allclose(mean[:2], level[:2], atol=1e-4)
    assert np.isnan(level[2])  # a seed does not reach the head accuracy: there all is lost
    assert mean[2] > mean[1]


def test_draws_of_images_scatter_as_independent_images_do(alone) -> None:
    found = layer_losses(alone, draws=400).sel(
        group="tail", half="judge", layer="c", bits=4, seed=0
    )
    some = alone.sel(layer="c", seed=0).isel(image=(alone.half.values == "judge"))
    change = (some.right.sel(bits=32) - some.right.sel(bits=4)).astype(float)
    each = [change.values[some.label.values == label] for label in range(4, CLASSES)]
    variance = sum(x.var() / len(x) for x in each) / len(each) ** 2
    assert float(found[1:].std()) == pytest.approx(100 * np.sqrt(variance), rel=0.15)


def test_agreement_is_spearman_across_the_halves(alone) -> None:
    losses = layer_losses(alone, draws=3)
    scores = xr.DataArray(
        np.random.default_rng(0).normal(size=(2, 2, 3)),
        {"half": list(HALVES), "seed": [0, 1], "layer": ["a", "b", "c"]},
        ("half", "seed", "layer"),
    )
    found = agreement(scores, losses)
    at = {"seed": 1, "bits": 4, "draw": 2, "group": "tail"}
    expected = [
        stats.spearmanr(scores.sel(half=one, seed=1), losses.sel(half=other).sel(at)).statistic
        for one, other in (HALVES, HALVES[::-1])
    ]
    assert float(found.sel(at)) == pytest.approx(np.mean(expected))
    assert float(agreement(0 * scores, losses).max()) == 0  # ranks nothing
    with pytest.raises(InputError, match="needs the dimension layer"):
        agreement(scores.rename(layer="place"), losses)


def test_differences_are_paired(alone) -> None:
    samples = layer_losses(alone, draws=3).rename(half="metric")
    found = differences(samples, "metric", {"gain": ("choose", "judge")})
    assert found.metric.values.tolist() == ["gain"]
    expected = samples.sel(metric="choose", drop=True) - samples.sel(metric="judge", drop=True)
    xr.testing.assert_allclose(found.isel(metric=0, drop=True), expected)
