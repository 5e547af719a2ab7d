"""Proxies and their scores, on a benchmark made of a model that is known."""

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
from scipy import stats

from ltqlib.first import experiment, mpq
from ltqlib.first.bench import (
    FAMILIES,
    PROXIES,
    Bench,
    Leaderboard,
    Plan,
    Scorer,
    additive_fit,
    draw,
    mixture,
    multiplicities,
)
from ltqlib.first.bench.proxies import average_bits, bit_operations, drop_sum, log_odds, survival
from ltqlib.first.bench.scoring import Ranked
from ltqlib.first.errors import InputError
from ltqlib.first.records import HALVES, pack, pack_array

CLASSES, LAYERS, IMAGES = 10, 16, 500
OPTIONS = experiment.STEPS["bench"].options["plan"] | {"prefixes": 25, "pairs": 2}
BITS = (8, 6, 5, 4, 3, 2)


def made(seed: int, noise: bool = True, **plan: Any) -> Bench:
    """A benchmark whose layers add up in the log-odds of every class; counts are binomial."""
    rng = np.random.default_rng(seed)
    drawn = draw(LAYERS, Plan.parse(OPTIONS | plan))
    widths = np.array(drawn.widths)
    harm = rng.gamma(1.0, 1.0, (CLASSES, LAYERS)) * 0.3
    shift = np.einsum("cl,ml->cm", harm, np.where(widths == 32, 0, 4.0 ** (4 - widths)))
    odds = rng.uniform(0, 2, CLASSES)
    share = 1 / (1 + np.exp(shift - odds[:, None]))
    floating = np.round(IMAGES / (1 + np.exp(-odds))).astype(int)

    def counts() -> np.ndarray:
        return rng.binomial(IMAGES, share) if noise else np.round(IMAGES * share).astype(int)

    names = [f"L{number + 1}" for number in range(LAYERS)]
    payload = {
        "layers": names,
        "costs": {n: {"parameters": 10 * (k + 1), "macs": 100 - k} for k, n in enumerate(names)},
        "classes": [str(label) for label in range(CLASSES)],
        "train_counts": list(range(CLASSES, 0, -1)),
        "groups": {"norm": list(range(10)), "head": [0, 1, 2, 3], "tail": [4, 5, 6, 7, 8, 9]},
        "families": list(FAMILIES),
        "family": pack([FAMILIES.index(family) for family in drawn.family]),
        "widths": pack(widths),
        "cluster": pack_array(drawn.cluster, "<u2"),
        "images": {half: [IMAGES] * CLASSES for half in HALVES},
        "float": {half: floating.tolist() for half in HALVES},
        "correct": {half: pack_array(counts(), "<u2") for half in HALVES},
        "agreement": {"differ": 0},
    }
    return Bench.open(payload, made_scores(rng, harm))


def made_scores(rng: np.random.Generator, harm: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    """Metrics of step ``importance`` with their shapes: the loss knows the harm, others little."""
    noise = np.outer(rng.uniform(0.5, 2, LAYERS), 4.0 ** (4 - np.array(BITS)))
    fisher = rng.uniform(0.1, 1, (CLASSES, LAYERS))
    by_width = np.outer(noise[0], noise[0])
    pairs = rng.uniform(0, 1e-3, (CLASSES, 120, 1, 1)) * by_width
    scores = {
        "loss": harm[:, :, None] * noise / noise[:, 3:4],
        "kl": rng.uniform(0.5, 1, (CLASSES, LAYERS, 1)) * noise,
        "sqnr": -10 * np.log10(noise),
        "output_sqnr": np.broadcast_to(-10 * np.log10(noise), (CLASSES, LAYERS, len(BITS))),
        "fisher": fisher,
        "fit": fisher[:, :, None] * noise,
        "hawq": fisher[:, :, None] * noise,
        "taylor": rng.standard_normal((CLASSES, LAYERS, len(BITS))),
        "gradient": rng.uniform(0, 1, (CLASSES, LAYERS)),
        "grape": rng.uniform(0, 1, (CLASSES, LAYERS)),
        "eigenvalue": rng.uniform(0, 1, LAYERS),
        "learned": noise,
        # more pairs than additive: narrow layers lose more together
        "accuracy_pairs": pairs,
        "loss_pairs": pairs,
    }
    return dict.fromkeys(HALVES, scores)


@pytest.fixture(scope="module")
def bench() -> Bench:
    return made(0)


@pytest.fixture(scope="module")
def rows(bench: Bench) -> np.ndarray:
    return bench.rows(["random"])


def test_true_losses_are_differences_of_accuracies(bench: Bench) -> None:
    counts = bench.counts["report"]
    for number in (0, 100, len(bench.widths) - 1):
        drops = [
            100 * (int(counts.floating[c]) - int(counts.correct[c, number])) / IMAGES
            for c in (4, 5, 6, 7, 8, 9)
        ]
        assert bench.lost("tail", "report")[number] == pytest.approx(np.mean(drops))


def test_costs_are_those_of_mixed_precision(bench: Bench) -> None:
    parameters = dict(zip(bench.layers, bench.parameters.tolist(), strict=True))
    view = bench.view("select")
    macs = dict(zip(bench.layers, bench.macs.tolist(), strict=True))
    for number in (3, 400):
        chosen = dict(zip(bench.layers, bench.widths[number].tolist(), strict=True))
        size = mpq.average_weight_bits(chosen, parameters)
        assert bench.average_bits[number] == pytest.approx(size)
        assert average_bits(view)[number] == pytest.approx(-size)
        eight = dict.fromkeys(bench.layers, 8)
        assert 8 * bit_operations(view)[number] == -mpq.bops(chosen, eight, macs)


def test_tables_are_read_from_the_configurations_with_one_layer_rounded(bench: Bench) -> None:
    view, lost = bench.view("select"), bench.counts["select"].lost()
    assert view.bits == BITS
    for layer, bits in itertools.product((0, 7, 15), (8, 4, 2)):
        row = [32] * LAYERS
        row[layer] = bits
        (number,) = np.flatnonzero((bench.widths == row).all(1))
        found = view.lost[:, layer, BITS.index(bits)]
        np.testing.assert_array_equal(found, lost[:, number])
        assert drop_sum(view, "tail")[number] == pytest.approx(found[4:].mean())


def test_a_sum_over_layers_is_what_a_loop_adds_up(bench: Bench) -> None:
    view = bench.view("report")
    table = np.random.default_rng(0).standard_normal((LAYERS, len(BITS)))
    found = view.sum(table)
    for number in (0, 200, 500):
        row = view.widths[number].tolist()
        expected = sum(table[k, BITS.index(bits)] for k, bits in enumerate(row) if bits != 32)
        assert found[number] == pytest.approx(expected)


def test_a_sum_over_pairs_is_what_a_loop_adds_up(bench: Bench) -> None:
    view = bench.view("report")
    table = np.random.default_rng(0).standard_normal((2, 120, len(BITS), len(BITS)))
    found = view.sum_pairs(table)
    for number in (0, 150, 600):
        at = {k: BITS.index(b) for k, b in enumerate(view.widths[number].tolist()) if b != 32}
        expected = sum(
            table[:, place, at[i], at[j]]
            for place, (i, j) in enumerate(itertools.combinations(range(LAYERS), 2))
            if i in at and j in at
        )
        np.testing.assert_allclose(found[:, number], expected)
    with pytest.raises(InputError, match="pairs, widths, widths"):
        view.sum_pairs(table[:, :119])


def test_a_proxy_of_one_layer_knows_its_true_loss(bench: Bench) -> None:
    """Where one layer alone is rounded, what multiplies or adds log-odds is exact."""
    alone = bench.rows(["one-layer"])
    alone = alone[(bench.widths[alone] == 32).sum(1) == LAYERS - 1]
    view, truth = bench.view("select", alone), bench.lost("tail", "select")[alone]
    half_an_image = 100 / IMAGES
    assert np.abs(survival(view, "tail") - truth).max() < half_an_image
    assert np.abs(log_odds(view, "tail") - truth).max() < half_an_image


def test_narrower_layers_are_never_predicted_to_lose_less() -> None:
    """Of tables that fall with the width, every proxy must."""
    bench = made(1, noise=False)
    rows = bench.rows(["uniform"])
    rows = rows[np.argsort(bench.widths[rows, 0])]
    proxies = [proxy for proxy in PROXIES if "Taylor" not in proxy.name]
    for proxy in proxies:
        values = proxy.function(bench.view("select", rows))
        assert (np.diff(values) <= 1e-9).all(), proxy.name
        assert values[0] > values[-1]


def test_the_list_of_proxies() -> None:
    names = [proxy.name for proxy in PROXIES]
    assert len(set(names)) == len(names) >= 12


def test_every_proxy_scores_and_what_was_not_measured_is_left_out(bench: Bench) -> None:
    board = Leaderboard({0.1: bench, 0.01: made(1)}, draws=5)
    assert len(board.proxies) == len(PROXIES)
    bare = dataclasses.replace(bench, scores={half: {} for half in HALVES})
    names = [proxy.name for proxy in Leaderboard({0.1: bare}, draws=5).proxies]
    assert names == [proxy.name for proxy in PROXIES if not proxy.scores]
    with pytest.raises(InputError, match="'loss' was not measured"):
        bare.view("select").score("loss")


def test_correlations_are_scipys_between_the_halves(bench: Bench, rows: np.ndarray) -> None:
    scorer = Scorer(bench, rows, draws=3)
    for function in (average_bits, lambda view: drop_sum(view, "tail")):
        tail, norm = scorer.spearman(function)
        for group, found in (("tail", tail), ("norm", norm)):
            expected = [
                stats.spearmanr(
                    function(bench.view(half, rows)), bench.lost(group, other)[rows]
                ).statistic
                for half, other in (HALVES, HALVES[::-1])
            ]
            assert found.value == pytest.approx(np.mean(expected), abs=1e-5)  # sums in float32


def test_a_draw_is_scipys_correlation_of_the_repeated_configurations(bench, rows) -> None:
    weights = multiplicities(bench.cluster[rows], 4)
    first, second = (np.round(bench.lost(g, "select")[rows]) for g in ("tail", "head"))  # ties
    found = Ranked(first, weights).correlation(Ranked(second, weights))
    for value, times in zip(found, weights.T.astype(int), strict=True):
        repeated = np.repeat(np.arange(len(rows)), times)
        expected = stats.spearmanr(first[repeated], second[repeated]).statistic
        assert value == pytest.approx(expected, abs=1e-5)


def test_clusters_are_drawn_whole_and_as_many_as_there_are(bench: Bench, rows: np.ndarray) -> None:
    cluster = bench.cluster[rows]
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


def test_the_model_that_is_true_leads_and_is_as_good_as_the_truth() -> None:
    benches = {factor: made(number) for number, factor in enumerate((0.1, 0.02, 0.01))}
    board = Leaderboard(benches, draws=40)
    table = board.table().query("factor == 'all' and group == 'tail'").set_index("proxy")
    references = board.references().query("factor == 'all' and group == 'tail'").set_index("proxy")
    noise = references.loc["true loss on the other images", "spearman"]
    assert table.loc["log-odds, sum, tail", "spearman"] > noise - 0.01
    assert table.loc["mixture of ranks", "spearman"] > table.loc["average weight bits", "spearman"]
    assert table.loc["average weight bits", "high"] < table.loc["log-odds, sum, tail", "low"]
    assert len(references) == 2
    assert ((table["low"] <= table["spearman"]) & (table["spearman"] <= table["high"])).all()


def test_a_mixture_does_not_see_the_model_that_it_is_scored_on() -> None:
    others = [made(1), made(2)]
    proxy = mixture(others, ["random"], "tail")
    bench = made(3)
    rows = bench.rows(["random"])
    before = proxy(bench.view("select", rows))
    counts = {
        half: dataclasses.replace(c, correct=c.correct.copy()) for half, c in bench.counts.items()
    }
    for found in counts.values():  # all truth gone but the one-layer tables
        found.correct[:, rows] = 0
    after = proxy(dataclasses.replace(bench, counts=counts).view("select", rows))
    np.testing.assert_array_equal(before, after)


def test_the_additive_fit_predicts_clusters_without_their_truth(bench, rows) -> None:
    clusters = np.unique(bench.cluster[rows])
    inside = bench.cluster[rows] == clusters[0]
    predicted = additive_fit(bench, rows, "select", "tail")
    counts = dataclasses.replace(
        bench.counts["select"], correct=bench.counts["select"].correct.copy()
    )
    counts.correct[:, rows[inside]] = 0
    changed = dataclasses.replace(bench, counts=bench.counts | {"select": counts})
    again = additive_fit(changed, rows, "select", "tail")
    np.testing.assert_allclose(again[inside], predicted[inside])
    assert not np.allclose(again[~inside], predicted[~inside])


def test_the_fit_finds_losses_that_do_add_up() -> None:
    bench = made(0, prefixes=400, branches=[1, 1])  # more beginnings than numbers to fit
    rows = bench.rows(["random"])
    points = np.random.default_rng(0).integers(0, 6, (33, LAYERS))  # by width and layer
    lost = points[bench.widths, np.arange(LAYERS)].sum(1)
    exact = {
        half: dataclasses.replace(found, correct=found.floating[:, None] - lost)
        for half, found in bench.counts.items()
    }
    changed = dataclasses.replace(bench, counts=exact)
    predicted = additive_fit(changed, rows, "select", "tail")
    assert np.corrcoef(predicted, lost[rows])[0, 1] > 0.97


def test_regret_is_the_pick_by_hand_and_none_for_the_search_itself(bench, rows) -> None:
    scorer, budget = Scorer(bench, rows, draws=20), 5.0
    small = rows[bench.average_bits[rows] <= budget]
    expected = []
    for half, other in (HALVES, HALVES[::-1]):
        predicted = drop_sum(bench.view(half, small), "tail")
        seen, judged = bench.lost("tail", half)[small], bench.lost("tail", other)[small]
        expected.append(judged[predicted.argmin()] - judged[seen.argmin()])
    found = scorer.regret(lambda view: drop_sum(view, "tail"), budget)
    assert found.value == pytest.approx(np.mean(expected))
    assert len(found.draws) == 20
    table = Leaderboard({0.1: bench}, draws=20).regret(["accuracy drop, sum, tail"], [budget])
    assert table["regret"].tolist() == pytest.approx([found.value])
    with pytest.raises(InputError, match="1 bits a weight or fewer"):
        scorer.regret(average_bits, 1)


def test_a_proxy_that_gives_something_else_is_refused(bench: Bench, rows: np.ndarray) -> None:
    scorer = Scorer(bench, rows, draws=2)
    with pytest.raises(InputError, match=r"shape \(3,\)"):
        scorer.spearman(lambda view: np.zeros(3))
    with pytest.raises(InputError, match="not finite"):
        scorer.spearman(lambda view: np.full(len(view.widths), np.nan))
    with pytest.raises(InputError, match="no configuration of random"):
        bench.rows(["random"], low=9)
    with pytest.raises(InputError, match="the table has shape"):
        bench.view("select").sum(np.zeros((LAYERS, 2)))
