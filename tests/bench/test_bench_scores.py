"""Proxies and their scores, on benchmarks made of networks that are known."""

import numpy as np
import pytest
import xarray as xr
from bench_tables import IMAGES, LAYERS, NAMES, made
from scipy import stats

from ltqlib.allocation import average_weight_bits, bops
from ltqlib.bench import (
    PROXIES,
    TARGETS,
    Leaderboard,
    Scorer,
    added,
    additive_fit,
    lost,
    mixture,
    multiplicities,
    proxy,
    rows_of,
    seen,
)
from ltqlib.bench.proxies import (
    average_bits,
    bit_operations,
    curve_sum,
    drop_sum,
    log_odds,
    share_called_tail,
    survival,
)
from ltqlib.bench.scoring import Ranked
from ltqlib.bench.table import EQUAL_HEAD, HALVES
from ltqlib.errors import InputError


@pytest.fixture(scope="module")
def bench() -> xr.Dataset:
    return made(0)


@pytest.fixture(scope="module")
def rows(bench: xr.Dataset) -> np.ndarray:
    return rows_of(bench, ["random"])


def test_costs_are_those_of_allocations(bench) -> None:
    view = seen(bench, "choose")
    parameters = dict(zip(NAMES, bench.parameters.values.tolist(), strict=True))
    macs = dict(zip(NAMES, bench.macs.values.tolist(), strict=True))
    for number in (3, 400):
        chosen = dict(zip(NAMES, bench.widths.values[number].tolist(), strict=True))
        size = average_weight_bits(chosen, parameters)
        assert float(average_bits(view)[number]) == pytest.approx(-size)
        assert float(bit_operations(view)[number]) == -bops(chosen, macs, 8)


def test_a_proxy_of_one_layer_knows_its_true_loss(bench) -> None:
    """Where one layer alone is rounded, what multiplies or adds log-odds is exact."""
    alone = rows_of(bench, ["one-layer"])
    alone = alone[(bench.widths.values[alone] == 32).sum(1) == LAYERS - 1]
    view = seen(bench, "choose", alone)
    truth = lost(bench, "tail", "choose")[alone]
    half_an_image = 100 / IMAGES
    assert np.abs(survival(view, "tail") - truth).max() < half_an_image
    assert np.abs(log_odds(view, "tail") - truth).max() < half_an_image
    np.testing.assert_allclose(drop_sum(view, "tail"), truth, atol=1e-9)
    equal = lost(bench, EQUAL_HEAD, "choose")[alone]
    np.testing.assert_allclose(curve_sum(view), equal, atol=1e-8)


def test_narrower_layers_are_never_predicted_to_lose_less() -> None:
    """Of tables that fall with the width, every proxy must."""
    bench = made(1, noise=False)
    uniform = rows_of(bench, ["uniform"])
    uniform = uniform[np.argsort(bench.widths.values[uniform, 0])]
    view = seen(bench, "choose", uniform)
    for name, each in PROXIES.items():
        if "Taylor" in name:
            continue
        values = each.function(view).values
        assert (np.diff(values) <= 1e-9).all(), name
        assert values[0] > values[-1]


def test_labels_are_not_needed_by_proxies_that_say_so(bench, rows) -> None:
    view = seen(bench, "choose", rows)
    names = [name for name, each in PROXIES.items() if each.needs == "no labels"]
    assert len(names) == 3
    blind = view.drop_vars(["lost", "accuracy", "curve"])
    for name in names:
        assert PROXIES[name].function(blind).equals(PROXIES[name].function(view))
    # here images called tail are tail images called right: the share follows the loss
    share, tail = share_called_tail(view), lost(bench, "tail", "judge")[rows]
    assert stats.spearmanr(share, tail).statistic > 0.8


def test_a_proxy_is_added_with_a_decorator_and_scored(bench) -> None:
    before = dict(PROXIES)
    try:

        @proxy("worst class of the tail")
        def worst_of_tail(seen: xr.Dataset) -> xr.DataArray:
            return added(seen, seen.lost[seen.group == "tail"].max("class"))

        @proxy("drop again", needs="accuracy", groups=("head", "norm"))
        def again(seen: xr.Dataset, group: str) -> xr.DataArray:
            return drop_sum(seen, group)

        @proxy("of what nobody measured", reads=("crystal_ball",))
        def unmeasured(seen: xr.Dataset) -> xr.DataArray:
            return added(seen, seen.crystal_ball)

        added_names = list(PROXIES)[len(before) :]
        assert added_names == [
            "worst class of the tail", "drop again, head", "drop again, all",
            "of what nobody measured",
        ]  # fmt: skip
        board = Leaderboard({0.1: bench}, draws=5)
        scored = board.table().set_index(["proxy", "network", "target"])["spearman"]
        assert "of what nobody measured" not in scored.index.get_level_values(0)
        assert scored["worst class of the tail", 0.1, "tail"] > 0.5
        for target in TARGETS:
            same = scored["accuracy drop, sum, all", 0.1, target]
            assert scored["drop again, all", 0.1, target] == same
    finally:
        PROXIES.clear()
        PROXIES.update(before)


def test_every_proxy_scores_and_what_was_not_measured_is_left_out(bench) -> None:
    assert len(PROXIES) >= 30
    board = Leaderboard({0.1: bench, 0.01: made(1)}, draws=5)
    assert len(board.proxies) == len(PROXIES)
    bare = Leaderboard({0.1: made(0, metrics=False)}, draws=5)
    names = [each.name for each in bare.proxies]
    assert names == [name for name, each in PROXIES.items() if not each.reads]


def test_correlations_are_scipys_between_the_halves(bench, rows) -> None:
    scorer = Scorer(bench, rows, draws=3)
    for function in (average_bits, lambda view: drop_sum(view, "tail")):
        found = scorer.spearman(function)
        assert list(found) == list(TARGETS)
        for target in TARGETS:
            expected = [
                stats.spearmanr(
                    function(seen(bench, half, rows)).round(9), lost(bench, target, other)[rows]
                ).statistic
                for half, other in (HALVES, HALVES[::-1])
            ]
            # sums in float32
            assert found[target].value == pytest.approx(np.mean(expected), abs=1e-5)


def test_a_draw_is_scipys_correlation_of_the_repeated_configurations(bench, rows) -> None:
    weights = multiplicities(bench.cluster.values[rows], 4)
    first, second = (np.round(lost(bench, g, "choose").values[rows]) for g in ("tail", "head"))
    found = Ranked(first, weights).correlation(Ranked(second, weights))  # with ties
    for value, times in zip(found, weights.T.astype(int), strict=True):
        repeated = np.repeat(np.arange(len(rows)), times)
        expected = stats.spearmanr(first[repeated], second[repeated]).statistic
        assert value == pytest.approx(expected, abs=1e-5)


def test_clusters_are_drawn_whole_and_as_many_as_there_are(bench, rows) -> None:
    cluster = bench.cluster.values[rows]
    weights = multiplicities(cluster, 50)
    assert (weights[:, 0] == 1).all()
    assert (weights.sum(0) == len(rows)).all()  # all of one size
    for label in np.unique(cluster):
        inside = weights[cluster == label]
        assert (inside == inside[:1]).all()


def test_intervals_cover_where_configurations_of_a_cluster_are_alike() -> None:
    """Values that clusters share: 95 % intervals hold the truth, those of single draws do not."""
    rng = np.random.default_rng(0)
    clusters, size, correlation = 60, 10, 0.6
    # Spearman's correlation of a bivariate normal with this correlation
    truth = 6 / np.pi * np.arcsin(correlation / 2)
    cluster, alone = np.repeat(np.arange(clusters), size), np.arange(clusters * size)
    held, held_alone = [], []
    for seed in range(80):
        shared = rng.standard_normal((2, clusters, 1)) * np.sqrt(0.9)
        x, e = shared + rng.standard_normal((2, clusters, size)) * np.sqrt(0.1)
        y = correlation * x + np.sqrt(1 - correlation**2) * e
        for labels, found in ((cluster, held), (alone, held_alone)):
            weights = multiplicities(labels, 150, seed)
            draws = Ranked(x.ravel(), weights).correlation(Ranked(y.ravel(), weights))[1:]
            low, high = np.quantile(draws, [0.025, 0.975])
            found.append(low <= truth <= high)
    assert 0.87 <= np.mean(held) <= 1.0
    assert np.mean(held_alone) < 0.7


@pytest.mark.slow
def test_the_model_that_is_true_leads_and_is_as_good_as_the_truth() -> None:
    tables = {factor: made(number) for number, factor in enumerate((0.1, 0.02, 0.01))}
    board = Leaderboard(tables, draws=20)
    scores, references = board.table(), board.references()

    def of(frame, target: str):
        return frame.query("network == 'all' and target == @target").set_index("proxy")

    tail, truth = of(scores, "tail"), of(references, "tail")
    noise = truth.loc["true loss on the other images", "spearman"]
    assert tail.loc["log-odds, sum, tail", "spearman"] > noise - 0.01
    assert tail.loc["mixture of ranks", "spearman"] > tail.loc["average weight bits", "spearman"]
    assert tail.loc["average weight bits", "high"] < tail.loc["log-odds, sum, tail", "low"]
    assert len(truth) == 3
    # layers do something else at equal head accuracy: the proxy that measures that leads there
    equal = of(scores, EQUAL_HEAD)
    best = equal.drop("mixture of ranks")["spearman"]
    assert best.idxmax() == "tail at equal head, sum"
    assert equal.loc["log-odds, sum, tail", "spearman"] < best.max() - 0.05
    # the share that a configuration calls tail follows the plain loss, not the other
    called = "share called tail by the configuration itself"
    assert truth.loc[called, "spearman"] > of(references, EQUAL_HEAD).loc[called, "spearman"]
    assert ((scores["low"] <= scores["spearman"]) & (scores["spearman"] <= scores["high"])).all()


def without_truth(bench: xr.Dataset, rows: np.ndarray) -> xr.Dataset:
    """All right predictions of some configurations gone."""
    kept = ~np.isin(np.arange(bench.sizes["configuration"]), rows)
    return bench.assign(
        correct=bench.correct * kept, tail_at_equal_head=bench.tail_at_equal_head * kept
    )


@pytest.mark.parametrize("target", TARGETS)
def test_a_mixture_does_not_see_the_network_that_it_is_scored_on(target: str) -> None:
    function = mixture([made(1), made(2)], ["random"], target)
    bench = made(3)
    rows = rows_of(bench, ["random"])
    before = function(seen(bench, "choose", rows))
    after = function(seen(without_truth(bench, rows), "choose", rows))
    np.testing.assert_array_equal(before, after)


def test_the_additive_fit_predicts_clusters_without_their_truth(bench, rows) -> None:
    cluster = bench.cluster.values[rows]
    inside = cluster == cluster.min()
    predicted = additive_fit(bench, rows, "choose", "tail")
    again = additive_fit(without_truth(bench, rows[inside]), rows, "choose", "tail")
    np.testing.assert_allclose(again[inside], predicted[inside])
    assert not np.allclose(again[~inside], predicted[~inside])


def test_the_fit_finds_losses_that_do_add_up() -> None:
    bench = made(0, prefixes=400, branches=(1, 1))  # more beginnings than numbers to fit
    rows = rows_of(bench, ["random"])
    points = np.random.default_rng(0).integers(0, 6, (33, LAYERS))  # by width and layer
    points[32] = 0
    falls = points[bench.widths.values, np.arange(LAYERS)].sum(1)
    exact = bench.assign(correct=400 + xr.zeros_like(bench.correct) - falls)
    predicted = additive_fit(exact, rows, "choose", "tail")
    assert np.corrcoef(predicted, falls[rows])[0, 1] > 0.97


def test_regret_is_the_pick_by_hand_and_none_for_the_search_itself(bench, rows) -> None:
    scorer, most = Scorer(bench, rows, draws=20), 5.0
    small = rows[scorer.mean_bits <= most]
    expected = []
    for half, other in (HALVES, HALVES[::-1]):
        predicted = drop_sum(seen(bench, half, small), "tail").values
        there, judged = (lost(bench, "tail", x).values[small] for x in (half, other))
        expected.append(judged[predicted.argmin()] - judged[there.argmin()])
    found = scorer.regret(lambda view: drop_sum(view, "tail"), most)
    assert found.value == pytest.approx(np.mean(expected))
    assert len(found.draws) == 20
    board = Leaderboard({0.1: bench}, draws=20)
    table = board.regret(["accuracy drop, sum, tail"], [most])
    assert table["regret"].tolist() == pytest.approx([found.value])
    with pytest.raises(InputError, match="1 bits a weight or fewer"):
        scorer.regret(average_bits, 1)


def test_a_proxy_that_gives_something_else_is_refused(bench, rows) -> None:
    scorer = Scorer(bench, rows, draws=2)
    with pytest.raises(InputError, match=r"shape \(3,\)"):
        scorer.spearman(lambda view: np.zeros(3))
    with pytest.raises(InputError, match="not finite"):
        scorer.spearman(lambda view: np.full(len(view.widths), np.nan))
