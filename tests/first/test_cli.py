"""The command line: bad input is one line and exit code 2, and nothing is left half written."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ltqlib.first import experiment
from ltqlib.first.cli import main


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "--profile", "smoke", "--imbalance-factor", "100"], "reciprocal 0.01"),
        (["run", "--profile", "smoke", "--imbalance-factor", "0"], "(0, 1]"),
        (["run", "--profile", "smoke", "--imbalance-factor", "0.0001"], "without an image"),
        (["run", "--profile", "tablet"], "profile 'tablet' is unknown"),
        (["run", "--profile", "smoke", "--data", "mnist"], "data source 'mnist' is unknown"),
        (["run", "--profile", "smoke", "--data", "folder:nowhere"], "does not exist"),
        (["run", "--profile", "smoke", "--until", "distil"], "step 'distil' is unknown"),
        (["run", "--profile", "smoke", "--class-order", "1,x"], "neither a list of labels"),
        (["run", "--profile", "smoke", "--class-order", "0,0"], "not a permutation"),
        (["show", "abc"], "names 0 runs"),
        (["publish", "--profile", "paper"], "no trained run"),
    ],
    ids=lambda value: " ".join(value[1:]) if isinstance(value, list) else "",
)
def test_bad_input(
    arguments: list[str], says: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert not list(home.rglob("*.json")) and not list(home.rglob("*.partial"))  # noqa: PT018


def test_run_json_then_show(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["run", "--profile", "smoke", "--imbalance-factor", "0.5", "--until", "data"]
    assert main([*arguments, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["config"]["imbalance_factor"] == 0.5
    assert main(["show"]) == 0
    assert told["digest"] in capsys.readouterr().out
    assert main(["show", told["digest"][:6], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["checksum"] == told["records"]["data"]


@pytest.mark.parametrize(
    ("last", "also"),
    [
        ("train", []),
        ("mpq", []),
        ("allocate", []),
        ("bench", ["bench"]),
        ("quadratic", ["pairs", "quadratic"]),
        ("schemes", ["schemes"]),
    ],
)
def test_steps_aside_are_computed_only_when_asked_for(last: str, also: list[str]) -> None:
    steps = experiment.until(last)
    assert steps[-1] == last
    assert [name for name in steps if experiment.STEPS[name].aside] == also
    assert all(set(experiment.STEPS[name].needs) <= set(steps) for name in steps)


def test_altered_record_is_named(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["run", "--profile", "smoke", "--until", "data"]
    assert main(arguments) == 0
    record = next(home.rglob("data.json"))
    record.write_text(record.read_text().replace('"digits"', '"fidgit"', 1))
    capsys.readouterr()
    assert main(arguments) == 2
    assert str(record) in capsys.readouterr().err


def test_a_missing_device_is_refused_before_any_work(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    assert main(["run", "--profile", "smoke", "--device", "cuda"]) == 2
    assert "this machine has none" in capsys.readouterr().err
    assert not list(home.rglob("*"))


def test_python_m_is_the_same_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ltqlib", "--help"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("usage: ltq")
