"""One run on the digits, from images to mixed precision, and what reading its records gives."""

import contextlib
import dataclasses
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from ltqlib.first import (
    agreement,
    comparison,
    data,
    evidence,
    experiment,
    front,
    importance,
    metrics,
    models,
    mpq,
    paths,
    records,
    tables,
)
from ltqlib.first import publish as publishing
from ltqlib.first.config import from_profile
from ltqlib.first.errors import InputError
from ltqlib.first.evidence import Replicates, Run
from ltqlib.first.interactions import Pairs
from ltqlib.first.publish import publish
from ltqlib.first.quantization import SCHEMES, Bits, quantize_network
from ltqlib.first.records import unpack
from ltqlib.first.steps import common, importances, pairing, quantizing

pytestmark = pytest.mark.slow

# of each model one program, of accuracies: few images make interactions large and programs slow
SHORT = dataclasses.replace(
    experiment.STEPS["quadratic"], options={"free": 6, "objectives": ["tail"], "budgets": [4.0]}
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A complete smoke run at IF 0.1 in a home of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LTQ_HOME", str(tmp_path_factory.mktemp("home")))
        bench = experiment.STEPS["bench"]  # with fewer configurations
        few = {"plan": bench.options["plan"] | {"prefixes": 2, "pairs": 1}, "check": [5, 60]}
        smaller = dataclasses.replace(bench, options=bench.options | few)
        patch.setitem(experiment.STEPS, "bench", smaller)
        importance_step = experiment.STEPS["importance"]  # with fewer images and probes
        little = {"images": {"outputs": 10, "fisher": 10, "curvature": 5, "eigenvalue": 2}}
        little |= {"probes": 4, "learning": {"steps": 4, "batch": 10, "learning_rate": 0.05}}
        less = dataclasses.replace(importance_step, options=importance_step.options | little)
        patch.setitem(experiment.STEPS, "importance", less)
        config = from_profile("smoke", imbalance_factor=0.1, train_images=9_600)
        experiment.get_or_run(config, "mpq")
        experiment.get_or_run(config, "ptq")
        experiment.get_or_run(config, "schemes")
        experiment.get_or_run(config, "allocate")
        patch.setitem(experiment.STEPS, "quadratic", SHORT)
        patch.setattr(pairing, "MEASURES", {"accuracy": Pairs.of_accuracy})
        experiment.get_or_run(config, "quadratic")
        yield Run(config)


def test_every_record_names_its_parents(run: Run) -> None:
    found = {step: run.record(step) for step in experiment.STEPS}
    for name, step in experiment.STEPS.items():
        expected = {parent: found[parent]["checksum"] for parent in step.needs}
        assert found[name]["parents"] == expected
        assert found[name]["provenance"]["packages"]["torch"]


def test_the_digits_are_learned_and_the_tail_is_worse(run: Run) -> None:
    accuracy = run.accuracy(run.predictions("baseline"))
    assert accuracy["norm"] > 60
    assert accuracy["head"] > accuracy["tail"]


def test_eight_bits_change_little_and_two_bits_change_much(run: Run) -> None:
    floating = run.predictions("crt")
    assert (run.quantized("crt", "w-channel", 8) == floating).mean() > 0.97
    assert (run.quantized("crt", "w-tensor", 2) == floating).mean() < 0.7


def test_one_layer_at_eight_bits_is_nearly_the_float_model(run: Run) -> None:
    floating = run.predictions("crt")
    by_layer = run.one_layer(8)
    assert list(by_layer) == [f"L{number}" for number in range(1, 17)]
    assert min((p == floating).mean() for p in by_layer.values()) > 0.97


def test_allocations_hold_their_budget(run: Run) -> None:
    payload = run.payload("mpq")
    parameters = {name: cost["parameters"] for name, cost in payload["costs"].items()}
    for by_budget in payload["allocations"].values():
        for budget, found in by_budget.items():
            for widths in found["widths"].values():
                chosen = dict(zip(parameters, widths, strict=True))
                assert mpq.average_weight_bits(chosen, parameters) <= float(budget)


def test_uniform_and_mixed_predictions_are_those_of_the_quantized_network(run: Run) -> None:
    parents = {name: run.record(name) for name in ("data", "train", "decouple")}
    network, dataset = common.folded(run.config, parents, "cpu", "crt"), data.load("digits")

    def expected(widths: list[int]) -> np.ndarray:
        bits = dict(zip(run.one_layer(4), map(Bits, widths), strict=True))
        return common.predict(quantize_network(network, bits, SCHEMES["w-tensor"]), dataset)

    for width in (8, 3):
        np.testing.assert_array_equal(
            run.quantized("crt", "w-tensor", width), expected([width] * 16)
        )
    payload = run.payload("mpq")
    chosen = payload["allocations"]["tail"]["4.5"]["widths"]
    fitted = np.where(run.select, expected(chosen["report"]), expected(chosen["select"]))
    np.testing.assert_array_equal(run.mixed("tail", 4.5), fitted)
    by_chance = payload["random"][7]
    np.testing.assert_array_equal(unpack(by_chance["predictions"]), expected(by_chance["widths"]))


def test_rankings_of_one_half_do_not_see_the_other(run: Run) -> None:
    """Recomputed by hand from the sensitivity record, with the other half's outcomes destroyed."""
    record = json.loads(json.dumps(run.record("sensitivity")))
    labels, select = run.labels.astype(np.int64), run.select
    before = quantizing._rankings(run.config, record, labels, select, 4)
    reference = unpack(record["payload"]["reference"])
    for layer, changes in record["payload"]["changes"].items():
        broken = unpack(changes["4"]) ^ reference
        broken[~select] = (labels[~select] + int(layer[1:])) % 10
        changes["4"] = records.pack(broken ^ reference)
    after = quantizing._rankings(run.config, record, labels, select, 4)
    assert after["tail"]["select"] == before["tail"]["select"]
    assert after["norm"]["select"] == before["norm"]["select"]


def test_allocations_that_know_pairs_hold_their_budget_and_expect_what_they_measured(
    run: Run,
) -> None:
    payload, widths = run.payload("quadratic"), experiment.STEPS["pairs"].options["bits"]
    parameters = {name: cost["parameters"] for name, cost in payload["costs"].items()}
    measured = Pairs.of_accuracy(run.payload("pairs"), widths)
    for by_model in payload["allocations"].values():
        for by_objective in by_model.values():
            for by_budget in by_objective.values():
                for budget, found in by_budget.items():
                    for chosen in found["widths"].values():
                        named = dict(zip(parameters, chosen, strict=True))
                        assert mpq.average_weight_bits(named, parameters) <= float(budget) + 1e-9
    for half, name in enumerate(("select", "report")):
        found = payload["allocations"]["accuracy"]["pairs"]["tail"]["4.0"]
        expected = measured.model(half, 6).losses(np.array([found["widths"][name]]))[0]
        np.testing.assert_allclose(found["expected"][name], expected, atol=1e-4)
        additive = payload["allocations"]["accuracy"]["sum"]["tail"]["4.0"]["widths"][name]
        of_sum = measured.model(half, 6).losses(np.array([additive]))[0]
        assert expected[run.groups["tail"]].mean() <= of_sum[run.groups["tail"]].mean() + 1e-4


def test_what_models_expect_of_whole_allocations_is_held_against_the_other_half(run: Run) -> None:
    """A random ranking of the record ``mpq``, by hand."""
    widths, found = (run.payload("mpq")["random"][3][key] for key in ("widths", "predictions"))
    measured = Pairs.of_accuracy(run.payload("pairs"), experiment.STEPS["pairs"].options["bits"])
    four = measured.singles[[n for n, bits in enumerate(widths) if bits == 4], 1]
    rows = front.foreseen(run).set_index(["family", "name", "half", "model", "group"])
    for half, judged in enumerate((~run.select, run.select)):
        row = rows.loc[("random ranking", "random 4, 5.0 bits", half, "sum", "tail")]
        assert row["expected"] == pytest.approx(four[:, 4:, half].sum(0).mean())
        lost = 100.0 * (
            (run.predictions("crt") == run.labels).astype(float) - (unpack(found) == run.labels)
        )
        each = [lost[judged & (run.labels == label)].mean() for label in run.groups["tail"]]
        assert row["found"] == pytest.approx(np.mean(each))


def test_allocations_of_every_method_hold_their_budget(run: Run) -> None:
    payload, options = run.payload("allocate"), experiment.STEPS["allocate"].options
    parameters, macs = (
        {name: cost[what] for name, cost in payload["costs"].items()}
        for what in ("parameters", "macs")
    )
    assert set(payload["allocations"]) == set(options["methods"])
    for method, by_budget in payload["allocations"].items():
        one_limit = options["methods"][method][0] != "exact"
        assert len(by_budget) == len(options["budgets"]) - 2 * one_limit
        for budget, found in by_budget.items():
            for widths in found["widths"].values():
                chosen = dict(zip(parameters, widths, strict=True))
                spent = {
                    "size": mpq.average_weight_bits(chosen, parameters),
                    "bops": mpq.average_weight_bits(chosen, macs),
                }
                for kind, limit in options["budgets"][budget].items():
                    assert spent[kind] <= limit + 1e-9


def test_the_exact_mean_expects_no_more_loss_than_uniform_widths(run: Run) -> None:
    for half in ("select", "report"):
        table = run.losses(half)
        for budget in ("4.0", "5.0", "both 4.0"):
            widths = run.payload("allocate")["allocations"]["mean"][budget]["widths"][half]
            chosen = table.predict(dict(zip(table.layers, widths, strict=True)))
            uniform = table.predict(dict.fromkeys(table.layers, int(float(budget.split()[-1]))))
            assert chosen.mean() <= uniform.mean() + 1e-6


def test_allocated_predictions_are_those_of_the_quantized_network(run: Run) -> None:
    parents = {name: run.record(name) for name in ("data", "train", "decouple")}
    network = common.folded(run.config, parents, "cpu", "crt")
    dataset = data.load("digits")
    half = run.payload("allocate")["allocations"]["kl-worst"]["4.5"]["widths"]["select"]
    bits = dict(zip(run.one_layer(4), map(Bits, half), strict=True))
    expected = common.predict(quantize_network(network, bits, SCHEMES["w-tensor"]), dataset)
    found = run.allocated("kl-worst", "4.5")
    np.testing.assert_array_equal(found[~run.select], expected[~run.select])
    null = [run.null(number, "4.5") for number in range(2)]
    assert (null[0] == run.predictions("crt")).mean() < 1


def test_losses_are_those_of_the_half(run: Run) -> None:
    table = run.losses("select")
    labels, half = run.labels[run.select], run.select
    before = metrics.per_class_accuracy(run.predictions("crt")[half], labels, 10)
    after = metrics.per_class_accuracy(run.one_layer(3)["L5"][half], labels, 10)
    np.testing.assert_allclose(table.losses[:, 4, table.widths.index(3)], before - after, atol=0.5)


def test_importance_sees_one_half_and_agrees_with_the_network(run: Run) -> None:
    """The loss increase by torch's cross-entropy; FIT from its two factors; shapes."""
    parents = {name: run.record(name) for name in ("data", "train", "decouple")}
    network = common.folded(run.config, parents, "cpu", "crt")
    dataset = data.load("digits")
    count = run.record("importance")["options"]["images"]["outputs"]
    sample = importances._balanced(dataset.test_images, dataset.test_labels, run.select, count)
    quantized = quantize_network(network, {"L3": Bits(4)}, SCHEMES["w-tensor"])
    labels = torch.from_numpy(sample[1])
    before, after = (
        torch.nn.functional.cross_entropy(
            torch.from_numpy(models.predict_logits(net, sample[0])), labels, reduction="none"
        )
        for net in (network, quantized)
    )
    found = run.importance("loss", "select")
    assert found.shape == (10, 16, 6)
    for label in range(10):
        expected = (after - before)[labels == label].mean().item()
        assert found[label, 2, 3] == pytest.approx(expected, abs=1e-4)
    noise = importance.squared_noise(network, [4], SCHEMES["w-tensor"], ["L3"])[0, 0]
    share = noise / network.backbone.L3.layer.weight.numel()  # type: ignore[union-attr]
    fisher, fit = run.importance("fisher", "report"), run.importance("fit", "report")
    np.testing.assert_allclose(fit[:, 2, 3], fisher[:, 2] * share, rtol=1e-3)
    assert run.importance("eigenvalue", "select").shape == (16,)
    assert (run.importance("kl", "report") > -1e-6).all()


def test_class_losses_add_up_to_the_accuracies_and_the_table(run: Run) -> None:
    losses = comparison.class_losses(Replicates((run,)), "worst", "4.5")
    assert len(losses) == 2 * 10
    widths = run.payload("allocate")["allocations"]["worst"]["4.5"]["widths"]["select"]
    table = {half: run.losses(half) for half in ("select", "report")}
    named = dict(zip(table["select"].layers, widths, strict=True))
    mine = losses[losses["half"] == "select"]
    np.testing.assert_allclose(mine["expected"], table["select"].predict(named))
    np.testing.assert_allclose(mine["elsewhere"], table["report"].predict(named))
    before, after = (
        metrics.per_class_accuracy(p[~run.select], run.labels[~run.select], 10)
        for p in (run.predictions("crt"), run.allocated("worst", "4.5"))
    )
    np.testing.assert_allclose(mine["found"], before - after)
    limits = comparison.limits_table(Replicates((run,)), "4.5", ["worst"])
    tail = losses[losses["group"] == "tail"]["found"].mean()
    assert limits.loc["exact, minimax", ("tail", "found")] == pytest.approx(tail)
    most = losses.groupby("half")["found"].max().mean()
    assert limits.loc["exact, minimax", ("class that loses most", "found")] == pytest.approx(most)


def test_comparisons_are_differences_of_accuracies(run: Run) -> None:
    replicates = Replicates((run,))
    changes = comparison.changes_table({0.1: replicates}, "4.5").set_index(["method", "group"])
    floating = run.class_accuracy(run.predictions("crt"))
    tail = run.groups["tail"]
    for method, name in comparison.METHODS.items():
        mine = run.class_accuracy(run.allocated(method, "4.5"))
        assert changes.loc[(name, "tail"), "change"] == pytest.approx(
            (mine - floating)[tail].mean()
        )
        worst = mine.min() - floating.min()
        assert changes.loc[(name, "worst"), "change"] == pytest.approx(worst)
    table = comparison.comparison_table(replicates, "both 4.0")
    assert "uniform, 4 bits" in table.index
    assert comparison.METHODS["greedy-mean"] not in table.index
    assert comparison.SHUFFLED in comparison.comparison_table(replicates, "bops 4.5").index
    side_by_side = comparison.changes_in_words(replicates, {"4.5": "one", "both 4.5": "two"})
    value = changes.loc[("exact, minimax", "worst"), "change"]
    assert side_by_side.loc["exact, minimax", ("one", "worst class")] == f"{value:+.1f}"
    assert side_by_side.loc[comparison.METHODS["ranking-tail"], ("two", "tail")] == ""
    target = comparison.target_table(replicates, "4.5", ["worst"])
    assert target.shape == (8, 1)


def test_agreement_compares_one_half_with_the_other(run: Run) -> None:
    lost = {
        half: run.losses(half).losses[run.groups["tail"]].mean(0)[:, 4] for half in agreement.OTHER
    }
    own = stats.spearmanr(lost["select"], lost["report"]).statistic
    assert agreement.correlation(run, "drop", "tail", [3]) == pytest.approx(own)
    noise = run.importance("sqnr", "select")[:, 4]
    expected = [stats.spearmanr(-noise, values).statistic for values in lost.values()]
    assert agreement.correlation(run, "sqnr", "tail", [3]) == pytest.approx(np.mean(expected))
    replicates = Replicates((run,))
    table = agreement.agreement_table(replicates, [3])
    assert len(table) == 3 * len(agreement.METRICS)
    assert len(agreement.agreement_table(replicates, agreement.PAIRS)) == 3 * 9
    gains = agreement.own_classes_table(replicates, [3]).set_index("metric")["gain"]
    kept = table.set_index(["metric", "group"])["correlation"]
    of_all = agreement.correlation(run, "kl", "tail", [3], scored_on="norm")
    assert gains["KL divergence"] == pytest.approx(kept["KL divergence", "tail"] - of_all)
    ranks = agreement.rank_table(replicates, 3)
    np.testing.assert_allclose(ranks.sum(axis=1), 16 * 17 / 2)
    assert list(ranks.index[:2]) == ["overall drop", "tail drop"]


def test_only_factors_with_a_record_are_opened(run: Run) -> None:
    other = Replicates((Run(dataclasses.replace(run.config, imbalance_factor=0.5)),))
    found = evidence.measured({0.1: Replicates((run,)), 0.5: other}, "allocate")
    assert list(found) == [0.1]


def test_a_balanced_sample_lies_in_its_half() -> None:
    labels = np.repeat(np.arange(3), 20)
    images = np.arange(60, dtype=np.uint8)[:, None, None, None]
    half = np.arange(60) % 2 == 0
    pixels, truth = importances._balanced(images, labels, half, 4)
    assert np.bincount(truth).tolist() == [4, 4, 4]
    assert half[pixels[:, 0, 0, 0]].all()
    fewer, _ = importances._balanced(images, labels, half, 2)
    assert set(fewer.ravel().tolist()) <= set(pixels.ravel().tolist())


def test_cross_fit_takes_each_half_from_the_other_choice() -> None:
    select = np.array([True, False, True, False])
    found = common.cross_fit(np.zeros(4, np.uint8), np.ones(4, np.uint8), select)
    np.testing.assert_array_equal(found, [1, 0, 1, 0])


def test_tau_is_the_best_of_its_half(run: Run) -> None:
    chosen = run.payload("decouple")["tau"]
    assert set(chosen) == {"select", "report"}
    assert all(0 <= tau <= 2 for tau in chosen.values())


def test_tables_agree_with_the_predictions(run: Run) -> None:
    replicates = Replicates((run,))
    table = tables.bits_table(replicates, "baseline", "w-tensor").set_index(["bits", "group"])
    floating = run.accuracy(run.predictions("baseline"))
    six = run.accuracy(run.quantized("baseline", "w-tensor", 6))
    for group in evidence.GROUPS:
        row = table.loc[(6, group)]
        assert row["drop"] == pytest.approx(floating[group] - six[group])
        assert row["accuracy"] == pytest.approx(six[group])
        assert row["low"] <= row["drop"] <= row["high"]
    assert table.loc[(32, "norm"), "drop"] == 0
    layers = tables.sensitivity_table(replicates, 2)
    one = run.accuracy(run.one_layer(2)["L3"])["tail"]
    rows = layers.set_index(["layer", "group"])
    assert rows.loc[("L3", "tail"), "accuracy"] == pytest.approx(one)
    ranks = tables.rank_table(layers)
    assert (
        ranks.loc[layers[layers["group"] == "tail"].sort_values("drop")["layer"].iloc[-1], "tail"]
        == 1
    )


def test_rows_by_class_are_the_accuracies_of_the_classes(run: Run) -> None:
    replicates = {"label": Replicates((run,))}
    rows = tables.by_class(replicates, lambda found: found.floating("crt"))
    np.testing.assert_allclose(rows["value"], run.class_accuracy(run.predictions("crt")))
    assert rows["count"].tolist() == run.counts


def test_replicates_differ_in_their_seed_alone(run: Run) -> None:
    other = Run(from_profile("smoke", imbalance_factor=0.5, seed=1))
    with pytest.raises(InputError, match="seed alone"):
        Replicates((run, other))
    assert evidence.open_replicates("smoke", 0.1, train_images=9_600).runs[0].config == run.config


def test_a_record_is_read_without_torch(run: Run) -> None:
    code = (
        "import sys; from ltqlib.first import evidence, claims, plots;"
        f"from ltqlib.first.config import from_dict; config = from_dict({run.config.public()!r});"
        "evidence.Run(config).accuracy(evidence.Run(config).predictions('crt'));"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_other_images_under_the_same_name_are_refused(run: Run) -> None:
    record = json.loads(json.dumps(run.record("data")))
    record["payload"]["fingerprint"] = "0" * 16
    with pytest.raises(InputError, match="not those that run"):
        common.checked_dataset(run.config, record)


def test_publish_then_find(run: Run) -> None:
    digest = run.config.digest()
    assert publish("smoke", weights=True) == {digest: list(experiment.STEPS)}
    assert records.find(digest, "mpq") == paths.results(digest) / "mpq.json"
    with pytest.raises(InputError, match="no trained run"):
        publish("paper")


@contextlib.contextmanager
def away(folder: Path, elsewhere: Path) -> Iterator[None]:
    """While this lasts, ``folder`` lies elsewhere; what was made in its place is removed."""
    hidden = folder.rename(elsewhere / folder.name)
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        hidden.rename(folder)


def test_an_analysis_of_a_published_run_is_published_too(run: Run, tmp_path: Path) -> None:
    digest = run.config.digest()
    publish("smoke")
    with away(paths.runs(digest), tmp_path):
        paths.runs(digest).mkdir()
        (paths.results(digest) / "schemes.json").rename(paths.runs(digest) / "schemes.json")
        assert publish("smoke") == {digest: ["schemes"]}
        assert records.find(digest, "schemes") == paths.results(digest) / "schemes.json"


def test_published_weights_are_read_where_the_working_copy_is_gone(
    run: Run, tmp_path: Path
) -> None:
    digest = run.config.digest()
    publish("smoke", weights=True)
    for line in paths.checkpoints("registry.txt").read_text().splitlines():
        name, known = line.split()
        content = paths.checkpoints(name).read_bytes()
        assert known == f"sha256:{hashlib.sha256(content).hexdigest()}"
        assert content == (paths.runs() / name).read_bytes()
    parents = {name: run.record(name) for name in ("data", "train", "decouple")}
    working = common.folded(run.config, parents, "cpu", "crt").state_dict()
    with away(paths.runs(digest), tmp_path):
        published = common.folded(run.config, parents, "cpu", "crt").state_dict()
    assert all(torch.equal(working[key], published[key]) for key in working)


def test_weights_beyond_the_limit_stay_where_they_are(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(paths, "checkpoints", lambda name="": tmp_path / name)
    monkeypatch.setattr(publishing, "LIMIT", 1_000)
    publish("smoke", weights=True)
    assert [path.name for path in tmp_path.rglob("*")] == ["registry.txt"]


def test_weights_that_are_not_those_of_the_record_are_not_published(run: Run) -> None:
    path = paths.runs(run.config.digest()) / "heads.safetensors"
    content = path.read_bytes()
    try:
        path.write_bytes(content[:-1])
        with pytest.raises(InputError, match="is not that of its record"):
            publish("smoke", weights=True)
    finally:
        path.write_bytes(content)


def test_a_newer_record_is_found_behind_an_outdated_published_one(run: Run) -> None:
    record = run.record("ptq")
    path = paths.results(run.config.digest()) / "ptq.json"
    kept = path.read_bytes() if path.exists() else None
    records.write(path, {**record, "options": {"bits": [7]}})
    try:
        found = experiment.existing(run.config, "ptq")
        assert found is not None
        assert found["options"] == experiment.STEPS["ptq"].options
    finally:
        path.unlink() if kept is None else path.write_bytes(kept)


def test_a_record_with_other_options_is_not_used(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    other = experiment.Step("ptq", ("data", "train", "decouple"), {"bits": [7]})
    monkeypatch.setitem(experiment.STEPS, "ptq", other)
    assert experiment.existing(run.config, "ptq") is None


def test_find_config_prefers_a_run_that_exists(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert experiment.find_config("smoke", 0.5).data == "digits"
    monkeypatch.setenv("LTQ_DATA", "folder:elsewhere")
    assert experiment.find_config("smoke", 0.5).data == "folder:elsewhere"


def test_an_altered_checkpoint_is_refused(run: Run) -> None:
    path: Path = paths.runs(run.config.digest()) / "model.safetensors"
    content = path.read_bytes()
    parents = {name: run.record(name) for name in ("data", "train")}
    try:
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(InputError, match="altered"):
            common.baseline(run.config, parents, "cpu")
    finally:
        path.write_bytes(content)


def test_unknown_step_is_refused() -> None:
    with pytest.raises(InputError, match="unknown"):
        experiment.get_or_run(from_profile("smoke"), "distil")


def test_seeds_of_a_configuration_are_found_also_in_older_records(home: Path) -> None:
    config = from_profile("laptop", imbalance_factor=0.01, data="folder:somewhere/images")
    for seed, steps in ((2, ("data", "decouple")), (0, ("data", "decouple")), (1, ("data",))):
        one = dataclasses.replace(config, seed=seed)
        told = {key: value for key, value in one.public().items() if key != "schedule"}
        for step in steps:  # a record from before the learning rate had a choice of schedules
            written = {"step": step, "config": told, "options": {}, "payload": {}}
            records.write(paths.results(one.digest()) / f"{step}.json", written)
    assert experiment.trained_seeds(config) == [0, 2]
    opened = evidence.open_replicates("laptop", 0.01)
    assert opened.seeds == [0, 2]
    assert opened.first.config.data == f"folder:{home}/data/images"
    assert evidence.open_replicates("laptop", 0.02).seeds == [0]  # none was trained
