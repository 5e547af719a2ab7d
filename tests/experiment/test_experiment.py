"""The calls of a page, end to end on the digits: computed once, then read."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from small_experiment import RECIPE, WIDTHS, Experiment

import ltqlib as ltq
from ltqlib import paths
from ltqlib.cli import main
from ltqlib.config import from_profile
from ltqlib.data import half_mask
from ltqlib.errors import InputError
from ltqlib.evidence import store
from ltqlib.evidence.arrays import read_dataset
from ltqlib.evidence.publish import publish
from ltqlib.experiment import networks as networks_module
from ltqlib.experiment import outcomes
from ltqlib.training import Follow

pytestmark = pytest.mark.slow

PAGE = f"""
import sys
import ltqlib as ltq
data = ltq.load_data("digits", imbalance_factor=0.1)
baseline = ltq.train(data, **{RECIPE})
crt = ltq.decouple(baseline, "crt")
rounded = ltq.evaluate({{"baseline": baseline, "crt": crt}}, data.test, bits={WIDTHS})
alone = ltq.sensitivity(crt, data.test, bits=[6, 4])
said = ltq.logits(baseline, bits=[32])
lost = ltq.estimate(rounded.right.sel(bits=32) - rounded.right, by="group")
print(len(baseline), int(rounded.right.sum()), int(alone.right.sum()), float(abs(said).sum()))
print("torch" in sys.modules)
"""


def test_outcomes_are_what_the_networks_predict(at_home: Experiment) -> None:
    found = ltq.evaluate(at_home.crt, at_home.data.test, bits=WIDTHS)
    assert dict(found.sizes) == {"seed": 2, "bits": 3, "image": 500}
    pixels = torch.from_numpy(at_home.data.test.images).permute(0, 3, 1, 2)
    (trained,) = at_home.first
    network = trained.load("cpu")
    for width, model in ((32, network), (4, ltq.quantize(network, 4, pixels[:2]))):
        with torch.inference_mode():
            expected = model(pixels).argmax(1).numpy()
        np.testing.assert_array_equal(found["predicted"].sel(seed=0, bits=width), expected)


def test_outcomes_know_their_images(at_home: Experiment) -> None:
    found, data = ltq.evaluate(at_home.baseline, bits=[32]), at_home.data
    np.testing.assert_array_equal(found["label"], data.test.labels)
    np.testing.assert_array_equal(found["group"], data.test.group_of_image)
    np.testing.assert_array_equal(found["half"] == "choose", half_mask(data.test.labels))
    np.testing.assert_array_equal(found["right"], found["predicted"] == found["label"])
    head, tail = data.groups["head"], data.groups["tail"]
    assert np.isin(found["best_head"], head).all()
    assert np.isin(found["best_tail"], tail).all()
    np.testing.assert_array_equal(found["margin"] > 0, np.isin(found["predicted"], tail))
    assert found.attrs["counts"] == list(data.counts)


def test_the_network_learns_and_its_margins_are_those_of_its_logits(at_home: Experiment) -> None:
    found = ltq.evaluate(at_home.baseline, bits=[32]).sel(bits=32)
    accuracy = ltq.estimate(found.right, by="group")["value"]
    assert accuracy["norm"] > 50
    assert accuracy["head"] > accuracy["tail"]
    logits = ltq.logits(at_home.baseline, bits=[32]).sel(bits=32)
    groups = at_home.data.groups
    margin = logits.isel({"class": list(groups["tail"])}).max("class") - logits.isel(
        {"class": list(groups["head"])}
    ).max("class")
    # a margin may come from bfloat16 products; its sign is settled in float32
    assert float(abs(margin - found["margin"]).max()) < 0.05 * float(margin.std())
    assert (np.sign(margin) == np.sign(found["margin"])).all()


def test_one_layer_at_a_time_then_mixed_precision(at_home: Experiment) -> None:
    choose, judge = at_home.data.test.halves()
    alone = ltq.sensitivity(at_home.crt, choose, bits=[6, 4])
    assert dict(alone.sizes) == {"seed": 2, "layer": 16, "bits": 3, "image": 250}
    assert set(alone["half"].values) == {"choose"}
    floating = alone.right.sel(bits=32)
    assert (floating == floating.isel(layer=0)).all()  # nothing is quantized in any of them
    widths = {
        driver: ltq.allocate(alone, minimize=driver, choices=(6, 4), mean_bits=5)
        for driver in ("norm", "tail")
    }
    parameters = alone["parameters"]
    for chosen in widths.values():
        assert set(np.unique(chosen)) <= {4, 6}
        mean = (chosen * parameters).sum("layer") / parameters.sum()
        assert float(mean.max()) <= 5
    mixed = ltq.evaluate(at_home.crt, judge, {"float": 32, "4 bits": 4, **widths})
    assert mixed["configuration"].values.tolist() == ["float", "4 bits", "norm", "tail"]
    whole = ltq.evaluate(at_home.crt, bits=[32, 4])
    half = whole.isel(image=np.flatnonzero(whole["half"] == "judge"))
    np.testing.assert_array_equal(
        mixed.right.sel(configuration=["float", "4 bits"]),
        half.right.transpose("seed", "bits", ...),
    )


def test_widths_of_random_draws_are_a_dimension_of_the_outcomes(at_home: Experiment) -> None:
    alone = ltq.sensitivity(at_home.crt, bits=[6, 4])
    widths = ltq.random_widths(alone, choices=(6, 4), mean_bits=5, draws=2)
    found = ltq.evaluate(at_home.crt, bits=widths)
    assert dict(found.sizes) == {"seed": 2, "draw": 2, "image": 500}
    second = ltq.evaluate(at_home.crt, bits={"second": widths.sel(draw=1)})
    xr.testing.assert_equal(
        found.sel(draw=1, drop=True), second.sel(configuration="second", drop=True)
    )
    with pytest.raises(InputError, match="at most one more"):
        ltq.evaluate(at_home.crt, bits=widths.expand_dims(twice=2))


def test_a_half_is_read_from_the_whole(
    at_home: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ltq.evaluate(at_home.baseline, bits=WIDTHS)
    monkeypatch.setattr(outcomes, "predict", None)  # nothing is computed
    for half in at_home.data.test.halves():
        found = ltq.evaluate(at_home.baseline, half, bits=WIDTHS)
        xr.testing.assert_equal(found, whole.isel(image=np.flatnonzero(whole["half"] == half.half)))


def test_methods_and_models_become_dimensions(at_home: Experiment) -> None:
    both = {"one": at_home.first, "other": at_home.first}
    found = ltq.evaluate(both, bits=[32, 4], method=["w-tensor", "w-channel"])
    assert dict(found.sizes) == {"model": 2, "method": 2, "seed": 1, "bits": 2, "image": 500}
    floating = found.right.sel(bits=32)
    assert (floating.sel(method="w-tensor") == floating.sel(method="w-channel")).all()
    assert ltq.estimate(found.right, by="norm").loc[("other", "w-channel", 4), "seeds"].item() == 1


@pytest.mark.filterwarnings("error::FutureWarning")
def test_models_with_other_seeds_stand_side_by_side(at_home: Experiment) -> None:
    """What was not measured is missing, not wrong: each row has its own number of seeds."""
    both = {"two": at_home.baseline, "one": at_home.first}
    right = ltq.evaluate(both, bits=[32]).right.sel(bits=32)
    table = ltq.estimate(right, by="norm")
    assert list(table["seeds"]) == [2, 1]
    alone = ltq.evaluate(at_home.first, bits=[32]).right.sel(bits=32)
    assert table.loc["one"]["value"].item() == ltq.estimate(alone, by="norm")["value"].item()
    less = right.sel(model="one") - right.sel(model="two")
    assert list(ltq.estimate(less, by="norm")["seeds"]) == [1]


def test_the_command_evaluates_what_chapter_3_asks_for(
    at_home: Experiment, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = ["--profile=smoke", "--train-images=6400", "--stage2-images=640"]
    assert main(["run", "--imbalance-factor=0.1", *recipe]) == 0
    assert "evaluate, done" in capsys.readouterr().out
    folder = paths.runs(at_home.baseline.configs[0].digest())
    told = [read_dataset(path).attrs for path in folder.glob("outcomes-*.nc.xz")]
    asked = {(each["classifier"], each["method"]) for each in told}
    assert {(name, "w-tensor") for name in networks_module.CLASSIFIERS} <= asked
    assert {("baseline", "w-channel"), ("baseline", "wa-tensor"), ("baseline", "wa-mse")} <= asked


def test_known_seeds_are_those_of_the_same_configuration(at_home: Experiment) -> None:
    assert ltq.train(at_home.data, **RECIPE).seeds == [0, 1]  # type: ignore[arg-type]
    assert ltq.train(at_home.data, seeds=1, **RECIPE).seeds == [1]  # type: ignore[arg-type]
    config = at_home.baseline.configs[0]
    assert networks_module.known_seeds(dataclasses.replace(config, seed=7)) == [0, 1]
    assert networks_module.known_seeds(dataclasses.replace(config, mixup=1.0)) == []


def test_a_fresh_process_reads_everything_without_torch(at_home: Experiment) -> None:
    def run() -> list[str]:
        return subprocess.check_output([sys.executable, "-c", PAGE], text=True).splitlines()

    first, (again, torch_again) = run(), run()
    assert first[0] == again
    assert again.split()[0] == "2"  # seeds left out: those that are known
    assert torch_again == "False"


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda e: ltq.train(e.data, profile="tablet"), "profile 'tablet' is unknown"),
        (lambda e: ltq.train(e.data, depth=3), "unknown configuration key 'depth'"),
        (lambda e: ltq.decouple(e.baseline, "distil"), "method 'distil' is unknown"),
        (lambda e: ltq.evaluate(e.baseline, bits=[4], method="magic"), "magic"),
        (lambda e: ltq.evaluate(e.baseline, bits={"L99": 4}), "bits name a layer 'L99'"),
        (lambda e: ltq.evaluate(e.baseline, bits=[1]), "1"),
    ],
    ids=["profile", "field", "decoupling", "method", "layer", "width"],
)
def test_bad_input_is_one_line(at_home: Experiment, call, says: str) -> None:
    before = sorted(at_home.home.rglob("*.nc.xz"))
    with pytest.raises(InputError, match=says) as refused:
        call(at_home)
    assert "\n" not in str(refused.value)
    assert sorted(at_home.home.rglob("*.nc.xz")) == before


def test_networks_of_other_images_are_refused(at_home: Experiment) -> None:
    full = dataclasses.replace(at_home.data.full, fingerprint="0" * 16)
    other = dataclasses.replace(at_home.baseline, data=dataclasses.replace(at_home.data, full=full))
    with pytest.raises(InputError, match="was trained on other images"):
        ltq.evaluate(other, bits=[7])


def test_other_images_have_outcomes_of_their_own(at_home: Experiment) -> None:
    test = at_home.data.test
    few = ltq.Split.of(test.images[::7], test.labels[::7], test.classes, counts=at_home.data.counts)
    found = ltq.evaluate(at_home.first, few, bits=[32, 4])
    whole = ltq.evaluate(at_home.first, bits=[32, 4])
    np.testing.assert_array_equal(
        found["predicted"], whole["predicted"].isel(image=slice(None, None, 7))
    )
    assert found.sizes["image"] == len(few)


@pytest.fixture
def published(at_home: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone that has the experiment published, with weights, and nothing in runs/."""
    shutil.copytree(at_home.home, tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv("LTQ_HOME", str(tmp_path))
    publish("smoke", weights=True)
    shutil.rmtree(paths.runs())
    return tmp_path


def test_a_clone_reads_what_is_published_and_adds_to_it(
    published: Path, at_home: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LTQ_HOME", str(published))
    data = ltq.load_data("digits", imbalance_factor=0.1)  # of which no graph is in memory
    baseline = ltq.train(data, **RECIPE)  # type: ignore[arg-type]
    known = ltq.evaluate(baseline, bits=WIDTHS)
    assert baseline.seeds == [0, 1]
    assert not paths.runs().exists()
    more = ltq.evaluate(baseline, bits=[*WIDTHS, 7])  # from the published weights
    xr.testing.assert_equal(more.sel(bits=WIDTHS), known)
    assert len(list(paths.runs().glob("*/*.nc.xz"))) == 2
    monkeypatch.setattr(outcomes, "predict", None)
    xr.testing.assert_equal(ltq.evaluate(baseline, bits=[*WIDTHS, 7]), more)


def test_fresh_computes_again(
    published: Path, at_home: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LTQ_HOME", str(published))
    monkeypatch.setenv("LTQ_FRESH", "1")
    trained = []
    monkeypatch.setattr(networks_module, "_train", lambda config, *_: trained.append(config.seed))
    assert ltq.train(at_home.data, **RECIPE).seeds == [0]  # type: ignore[arg-type]
    assert trained == [0]


@pytest.mark.parametrize("file", ["model.safetensors", "heads.safetensors"])
def test_damaged_weights_are_refused(
    file: str, published: Path, at_home: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LTQ_HOME", str(published))
    path = paths.checkpoints(at_home.crt.configs[0].digest()) / file
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    data = ltq.load_data("digits", imbalance_factor=0.1)  # of which no graph is in memory
    with pytest.raises(InputError, match=f"{file} is truncated or altered"):
        ltq.evaluate(dataclasses.replace(at_home.crt, data=data), bits=[7])


TRAIN = """
from ltqlib.training import state
state.EVERY = 0.0  # the state is written after every pass
import ltqlib as ltq
ltq.train(ltq.load_data("digits", imbalance_factor=0.5), seeds=[5], **RECIPE)
"""
COUNT = """
from ltqlib.training import stage1
train_network, trained = stage1.train_network, []
stage1.train_network = lambda *all, **named: trained.append(1) or train_network(*all, **named)
"""


def history(path: Path) -> list[dict[str, float]]:
    """The passes that the state of an unfinished training holds."""
    from safetensors import safe_open

    if not path.exists():
        return []
    with safe_open(path, framework="np") as file:
        return json.loads(file.metadata()["history"])


def test_a_killed_training_goes_on(home: Path) -> None:
    code = f"RECIPE = {RECIPE}{TRAIN}"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    while not (found := list(home.rglob("train-state.safetensors"))) or len(history(found[0])) < 3:
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    kept = history(found[0])
    assert not list(home.rglob("network.json"))
    data = ltq.load_data("digits", imbalance_factor=0.5)
    passes = []
    follow = Follow(tuple(range(1, 100)), lambda snapshot: passes.append(snapshot.passes))
    (trained,) = ltq.train(data, seeds=5, follow=follow, **RECIPE)  # type: ignore[arg-type]
    whole = trained.record["training"]["history"]
    assert whole["epoch"] == list(range(1, passes[-1] + 1))
    assert 3 <= len(kept) < len(whole["epoch"])
    # seconds are the clock's: had a pass that was finished been computed again, they would differ
    assert all(whole[name][: len(kept)] == [row[name] for row in kept] for name in kept[0])
    assert not list(home.rglob("train-state.safetensors"))


def test_two_processes_train_once(home: Path) -> None:
    code = f"RECIPE = {RECIPE | {'train_images': 1_280}}{COUNT}{TRAIN}print(len(trained))"
    both = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate()[0].strip() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(said) == ["0", "1"]
    assert len(store.digests()) == 1
    assert os.environ["LTQ_HOME"] == str(home)


def test_networks_that_differ_in_their_second_stage_share_the_first(
    published: Path,
    at_home: Experiment,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from ltqlib.training import stage1

    monkeypatch.setenv("LTQ_HOME", str(published))
    monkeypatch.setattr(stage1, "train_network", None)
    recipe = {**RECIPE, "stage2_norm": "shifted", "seeds": [1]}
    other = ltq.train(at_home.data, **recipe)  # type: ignore[arg-type]
    (parent, child) = (networks.configs[-1].digest() for networks in (at_home.baseline, other))
    assert store.find_record(child)["first_stage"] == parent  # type: ignore[index]
    known = ltq.evaluate(at_home.baseline, bits=[32, 4]).sel(seed=[1])
    xr.testing.assert_equal(ltq.evaluate(other, bits=[32, 4]), known)
    shifted = ltq.evaluate(ltq.decouple(other, "crt"), bits=[32])
    plain = ltq.evaluate(at_home.crt, bits=[32]).sel(seed=[1])
    assert not np.array_equal(shifted["margin"], plain["margin"])
    assert publish("smoke", weights=True).weights == [child]
    assert [path.name for path in paths.checkpoints(child).iterdir()] == ["heads.safetensors"]
    assert (
        store.find_record(child)["training"]["weights"]
        == store.find_record(parent)["training"]["weights"]
    )  # type: ignore[index]
    assert main(["show", child]) == 0
    assert f"stage 1 of {parent}" in capsys.readouterr().out


def test_only_the_second_stage_is_left_out_of_the_first() -> None:
    first_stage, plain = networks_module.first_stage, from_profile("smoke")
    other = from_profile("smoke", stage2_images=500, stage2_norm="shifted", stage2_smooth_head=0.3)
    assert first_stage(other) == first_stage(plain) == plain
    for change in ({"seed": 1}, {"mixup": 1.0}, {"width": 0.5}, {"holdout": 0.1}):
        assert first_stage(from_profile("smoke", **change)) != plain
