"""The command that trains many networks on one card, rehearsed on the CPU."""

import importlib.util
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import yaml

from ltqlib.errors import InputError

ROOT = Path(__file__).parents[2]
TINY = {"profile": "smoke", "imbalance_factor": 0.1, "width": 1 / 32, "epochs": 2}
HOW = {"classifiers": ["baseline"], "methods": ["w-tensor"], "bits": [32, 4], "weights": False}


@pytest.fixture(scope="module")
def gpu():
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("gpu", ROOT / "benchmarks" / "gpu.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def plan(home):
    """A plan file with two networks."""
    path = home / "plan.yml"
    path.write_text(json.dumps([{**TINY, "seeds": [0, 1]}]))  # JSON is YAML
    return path


@pytest.fixture
def one(gpu, plan):
    """The only network of a plan, and the marker of its end."""
    entry = gpu.entries(str(plan))[0]
    return entry, gpu.marker(entry, HOW)


def command(*arguments):
    """(exit code, output) of the command in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_every_plan_is_made_of_different_networks(gpu):
    names = list(yaml.safe_load(gpu.PLANS.read_text()))
    digests = [
        gpu.config_of(one).digest()
        for name in names
        for entry in gpu.entries(name)
        for one in gpu.stages(entry)
    ]
    assert len(digests) == len(set(digests))
    assert gpu.entries("full,resnet") == gpu.entries("full") + gpu.entries("resnet")


def test_the_choice_looks_at_no_test_image_and_has_plain_and_smoothed_second_stages(gpu):
    entries = gpu.entries("choice")
    assert {gpu.config_of(entry).holdout for entry in entries} == {0.2}
    smoothed = [gpu.config_of(gpu.stages(entry)[1]).stage2_smooth_head for entry in entries]
    assert set(smoothed) == {0.3}
    assert len({gpu.config_of(entry).seed for entry in entries}) == 3


def test_lists_of_factors_and_named_orders_are_one_network_each(gpu):
    full = [gpu.config_of(entry) for entry in gpu.entries("full")]
    assert {(c.imbalance_factor, c.seed) for c in full} == {
        (factor, seed) for factor in (0.1, 0.02, 0.01) for seed in range(3)
    }
    orders = {gpu.config_of(entry).class_order for entry in gpu.entries("orders")}
    assert (9, 8, 7, 6, 5, 4, 3, 2, 1, 0) in orders


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no name"),
        ("profile: paper", "no list"),
        ("[1, 2]", "no list"),
        ("[{profile: [}", "no YAML"),
        ("[{profile: huge}]", "profile 'huge' is unknown"),
        ("[{profile: paper, widht: 1}]", "unknown configuration key 'widht'"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(gpu, home, content, words):
    path = home / "plan.yml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=words):
        [gpu.config_of(entry) for entry in gpu.entries(str(path))]


def test_what_is_packed_are_records_in_parts_that_are_small_enough(gpu, one):
    entry, mark = one
    mark.parent.mkdir(parents=True)
    sizes = {f"outcomes-{number}.nc.xz": 400_000 for number in range(7)}
    for name, size in {**sizes, "network.json": 10, "model.safetensors": 10, "gpu.log": 10}.items():
        (mark.parent / name).write_bytes(bytes(size))
    target = mark.parent / "records"
    assert gpu.pack([entry], HOW, target, 1.0) == []  # nothing is done
    mark.touch()
    names = []
    for path in gpu.pack([entry], HOW, target, 1.0):
        assert path.stat().st_size <= 2**20
        with tarfile.open(path) as archive:
            names += archive.getnames()
    folder = mark.parent.name
    assert sorted(names) == sorted(f"{folder}/{name}" for name in [*sizes, "network.json"])


def test_no_time_means_nothing_done_and_more_to_do(plan):
    code, output = command("--plan", plan, "--minutes", 0)
    assert code == 3
    assert "0 of 2 networks are done" in output


def test_a_bad_plan_is_one_line(home):
    code, output = command("--plan", home / "none.yml")
    assert code == 2
    assert len(output.splitlines()) == 1


@pytest.mark.slow
def test_a_plan_is_stopped_goes_on_names_what_fails_and_leaves_records_alone(
    gpu, home, monkeypatch
):
    from ltqlib.data import load_data
    from ltqlib.experiment import evaluate, train

    plan, good, fails = home / "plan.yml", home / "good.yml", {**TINY, "ema": 0.9, "swa": 0.5}
    plan.write_text(json.dumps([TINY, fails]))
    good.write_text(json.dumps([TINY]))
    how = ["--no-weights", "--processes", 2, "--device", "cpu"]
    how += ["--classifiers", "baseline", "--methods", "w-tensor", "--bits", 32, 4]
    code, output = command("--plan", plan, *how, "--minutes", 0.02)
    assert code == 3
    code, output = command("--plan", plan, *how, "--minutes", 8, "--pack", home / "records")
    assert code == 1, output
    assert "1 of 2 networks are done" in output
    failed = gpu.config_of(fails)
    assert f"{failed.digest()} {failed.label()}: FAILED" in output
    assert "ema and swa" in (home / "runs" / failed.digest() / "gpu.log").read_text()
    assert command("--plan", good, *how, "--minutes", 0)[0] == 0  # known to be done
    assert not list(home.glob("runs/*/*.safetensors"))
    elsewhere = home / "elsewhere"
    with tarfile.open(home / "records.0.tar") as archive:
        archive.extractall(elsewhere / "runs", filter="data")
    data = load_data("digits", 0.1)
    recipe = {"width": 1 / 32, "epochs": 2}

    def outcomes(home):
        monkeypatch.setenv("LTQ_HOME", str(home))
        return evaluate(train(data, profile="smoke", seeds=0, **recipe), bits=[32, 4])

    read = outcomes(elsewhere)  # without weights: nothing is computed
    trained = outcomes(home / "fresh")
    assert np.array_equal(read["predicted"], trained["predicted"])
