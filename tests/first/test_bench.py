"""LTQ-Bench: what is drawn, and its evaluation against quantized copies of the network."""

import dataclasses
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
from scipy import stats

from ltqlib.first import experiment, longtail
from ltqlib.first import models as networks
from ltqlib.first.bench import FAMILIES, Plan, draw
from ltqlib.first.bench.configurations import tilted
from ltqlib.first.config import from_profile
from ltqlib.first.errors import InputError
from ltqlib.first.evidence import Run
from ltqlib.first.quantization import SCHEMES, Bits, quantize_network
from ltqlib.first.records import unpack, unpack_array
from ltqlib.first.steps import common

PLAN = Plan.parse(experiment.STEPS["bench"].options["plan"])
FEW = {"prefixes": 2, "pairs": 1, "branches": [2, 2]}


@pytest.fixture(scope="module")
def drawn():
    """The published configurations."""
    return draw(16, PLAN)


def test_more_than_five_thousand_configurations_none_of_them_twice(drawn) -> None:
    assert len(set(drawn.widths)) == len(drawn.widths) > 5_000
    count = Counter(drawn.family)
    assert set(count) == set(FAMILIES)
    assert count["random"] == 250 * 4 * 5
    assert set(np.unique(drawn.widths)) == {2, 3, 4, 5, 6, 8, 32}


def test_the_same_are_drawn_at_every_call_and_others_with_another_seed(drawn) -> None:
    again = draw(16, PLAN)
    assert (again.widths, again.family, again.cluster) == (
        drawn.widths,
        drawn.family,
        drawn.cluster,
    )
    assert draw(16, dataclasses.replace(PLAN, seed=1)).widths != drawn.widths


def test_a_cluster_is_one_prefix_and_a_prefix_one_cluster(drawn) -> None:
    for family, prefixes in (("random", 250), ("two-width", 30)):
        rows = [row for row, name in zip(drawn.widths, drawn.family, strict=True) if name == family]
        clusters = [
            c for c, name in zip(drawn.cluster, drawn.family, strict=True) if name == family
        ]
        pairs = {(cluster, row[:7]) for cluster, row in zip(clusters, rows, strict=True)}
        assert len(pairs) == len(set(clusters)) == len({row[:7] for row in rows}) == prefixes
        assert set(Counter(clusters).values()) == {20}
    structured = [
        c
        for c, f in zip(drawn.cluster, drawn.family, strict=True)
        if f not in {"random", "two-width"}
    ]
    assert len(set(structured)) == len(structured)


def test_random_configurations_cover_three_to_seven_bits(drawn) -> None:
    rows = np.array(drawn.widths)[np.array(drawn.family) == "random"]
    low, high = np.percentile(rows.mean(1), [1, 99])
    assert low < 4
    assert high > 6.5
    assert 0.05 < (rows == 2).any(1).mean() < 0.2


def test_every_layer_is_changed_alone_and_uniform_widths_are_there(drawn) -> None:
    rows = set(drawn.widths)
    for bits in (2, 3, 4, 5, 6, 8):
        assert (bits,) * 16 in rows
        for layer in range(16):
            assert (*(32,) * layer, bits, *(32,) * (15 - layer)) in rows


@pytest.mark.parametrize("mean", [3.2, 4.5, 5.2, 7.4])
def test_tilted_widths_have_the_mean_and_no_distribution_more_entropy(mean: float) -> None:
    found = tilted(PLAN.widths, mean)
    assert found @ np.array(PLAN.widths) == pytest.approx(mean)
    # moves that keep sum and mean: entropy falls in either direction
    for move in ([1, -2, 1, 0, 0], [0, 1, -2, 1, 0], [0, 0, 2, -3, 1]):
        for step in (1e-4, -1e-4):
            assert stats.entropy(found + step * np.array(move)) < stats.entropy(found)


def test_a_network_that_is_too_short_and_a_plan_without_end_are_refused() -> None:
    with pytest.raises(InputError, match="13 layers"):
        draw(13, PLAN)
    with pytest.raises(InputError, match="not ascending"):
        dataclasses.replace(PLAN, cuts=(7, 7))
    with pytest.raises(InputError, match="ask for fewer"):
        dataclasses.replace(PLAN, pairs=65)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A smoke run with a benchmark of few configurations, in a home of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LTQ_HOME", str(tmp_path_factory.mktemp("home")))
        step = experiment.STEPS["bench"]
        few = step.options | {"plan": step.options["plan"] | FEW, "check": [5, 60], "image_step": 2}
        patch.setitem(experiment.STEPS, "bench", dataclasses.replace(step, options=few))
        config = from_profile("smoke", imbalance_factor=0.1, train_images=4_800)
        experiment.get_or_run(config, "bench")
        yield Run(config)


@pytest.mark.slow
def test_counts_are_those_of_quantized_copies(run: Run) -> None:
    payload, parents = (
        run.payload("bench"),
        {s: run.record(s) for s in ("data", "train", "decouple")},
    )
    widths = unpack(payload["widths"]).reshape(-1, 16)
    dataset = common.checked_dataset(run.config, parents["data"])
    network = common.folded(run.config, parents, "cpu", "crt")
    halves = {"select": run.select[::2], "report": ~run.select[::2]}
    correct = {h: unpack_array(payload["correct"][h], "<u2").reshape(10, -1) for h in halves}
    for number in np.random.default_rng(0).permutation(len(widths))[:12]:
        named = zip(payload["layers"], widths[number].tolist(), strict=True)
        chosen = {layer: Bits(bits) for layer, bits in named if bits != 32}
        copy = quantize_network(network, chosen, SCHEMES["w-tensor"])
        right = common.predict(copy, dataset)[::2] == run.labels[::2]
        for half, inside in halves.items():
            expected = np.bincount(run.labels[::2][inside & right], minlength=10)
            # bfloat16 decides a close case otherwise now and then
            assert np.abs(correct[half][:, number] - expected.astype(int)).max() <= 2
            assert payload["images"][half] == np.bincount(run.labels[::2][inside]).tolist()


@pytest.mark.slow
def test_the_record_holds_the_float_counts_and_what_bfloat16_changes(run: Run) -> None:
    payload = run.payload("bench")
    right = run.predictions("crt") == run.labels
    for half, inside in (("select", run.select), ("report", ~run.select)):
        taken = (right & inside)[::2]
        assert payload["float"][half] == np.bincount(run.labels[::2][taken], minlength=10).tolist()
    agreement = payload["agreement"]
    assert (agreement["configurations"], agreement["images"]) == (5, 60)
    assert agreement["differ"] <= 15  # of 300 predictions
    assert payload["groups"] == longtail.head_and_tail(10)
    layers = networks.quantizable_layers(networks.build(run.config, 10))
    assert payload["layers"] == list(layers) == list(payload["costs"])
