"""The command line: bad input is one line and exit code 2, and nothing is left half written."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from ltqlib import paths
from ltqlib.cli import build_parser, main
from ltqlib.cli.run import NAMED, RECIPE
from ltqlib.config import RunConfig, from_profile
from ltqlib.evidence import store

SMOKE = ["run", "--profile", "smoke"]


def keep(config: RunConfig, evaluations: int = 1) -> str:
    """A network as the store holds it, without weights."""
    digest = config.digest()
    origin = {"created": "2026-01-01T00:00:00+00:00", "commit": "c0ffee" * 6, "dirty": True}
    provenance = {**origin, "seconds": 1.5}
    stage1 = {"config": config.public(), "training": {"weights": ""}, "provenance": provenance}
    store.keep_record(digest, stage1)
    store.keep_record(digest, {"weights": "", "provenance": provenance}, store.STAGE2)
    for number in range(evaluations):
        attrs = {**origin, "dirty": "true", "seconds": 2.5, "function": "outcomes", "method": "w"}
        found = xr.Dataset({"predicted": ("image", np.zeros(9, np.uint8))}, attrs=attrs)
        store.keep(digest, "outcomes", f"{number:08}", found)
    return digest


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([*SMOKE, "--imbalance-factor", "100"], "reciprocal 0.01"),
        ([*SMOKE, "--imbalance-factor", "0"], "(0, 1]"),
        ([*SMOKE, "--imbalance-factor", "mild"], "'natural' for the data's own counts"),
        ([*SMOKE, "--imbalance-factor", "0.0001"], "without an image"),
        (["run", "--profile", "tablet"], "profile 'tablet' is unknown"),
        ([*SMOKE, "--data", "mnist"], "data source 'mnist' is unknown"),
        ([*SMOKE, "--data", "folder:nowhere"], "nowhere"),
        ([*SMOKE, "--until", "distil"], "invalid choice: 'distil'"),
        ([*SMOKE, "--class-order", "1,x"], "no list of labels"),
        ([*SMOKE, "--class-order", "0,0"], "class_order names 2 classes"),
        ([*SMOKE, "--class-order", "0,0,1,2,3,4,5,6,7,8"], "not a permutation"),
        ([*SMOKE, "--seed", "-1"], "seed is -1: it must be"),
        ([*SMOKE, "--epochs", "many"], "argument --epochs: invalid int value"),
        ([*SMOKE, "--sam", "-0.1"], "sam is -0.1"),
        ([*SMOKE, "--loss", "hinge"], "argument --loss: invalid choice"),
        ([*SMOKE, "--threads", "0"], "--threads is 0"),
        ([*SMOKE, "--depth", "3"], "unrecognized arguments: --depth 3"),
        ([], "required: COMMAND"),
        (["distil"], "invalid choice: 'distil'"),
        (["show", "abc"], "names 0 networks"),
        (["claims"], "no network of profile laptop at imbalance factor 0.1"),
        (["publish"], "has no complete network"),
        (["publish", "--profile", "paper"], "has no complete network of profile 'paper'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input(
    arguments: list[str], says: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    told = capsys.readouterr()
    assert says in told.err
    assert told.err.startswith("ltq: ")
    assert told.err.count("\n") == 1
    assert told.out == ""
    assert not [path for path in home.rglob("*") if path.is_file()]


def test_every_field_of_a_configuration_is_an_option() -> None:
    options = vars(build_parser().parse_args(["run"]))
    assert {field.name for field in dataclasses.fields(RunConfig)} <= set(options)
    assert all(options[field.name] is None for field in RECIPE)  # left to the profile
    assert {field.name for field in RECIPE}.isdisjoint(NAMED)


def test_options_have_the_type_of_their_field() -> None:
    text = ["--epochs=3", "--width=1", "--loss=ldam-drw", "--stage2-smooth-tail=0.4"]
    options = build_parser().parse_args(["run", *text])
    assert (options.epochs, options.width, options.loss) == (3, 1.0, "ldam-drw")
    assert options.stage2_smooth_tail == 0.4


def test_what_is_known_is_not_trained(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = from_profile("smoke", imbalance_factor=0.5, seed=3, mixup=0.2)
    digest = keep(config)
    recipe = ["--imbalance-factor", "0.5", "--seed", "3", "--mixup", "0.2", "--until", "decouple"]
    assert main([*SMOKE, *recipe, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"digest": digest, "config": config.public()}
    assert main([*SMOKE, *recipe]) == 0
    assert "IF 0.5 seed 3 mixup 0.2: decouple, done" in capsys.readouterr().out


def test_networks_are_listed_by_configuration(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show"]) == 0
    assert "no networks yet" in capsys.readouterr().out
    plain = [keep(from_profile("smoke", imbalance_factor=0.5, seed=seed)) for seed in (10, 2)]
    mixed = keep(from_profile("smoke", imbalance_factor=0.1, mixup=1.0), evaluations=2)
    assert main(["show"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "digits, smoke vgg16 x0.0625 IF 0.5",
        f"  seed 2  {plain[1]}  working    two stages  1 evaluation",
        f"  seed 10  {plain[0]}  working    two stages  1 evaluation",
        "digits, smoke vgg16 x0.0625 IF 0.1 mixup 1",
        f"  seed 0  {mixed}  working    two stages  2 evaluations",
    ]
    assert main(["show", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["digest"] for row in rows] == [plain[1], plain[0], mixed]
    evaluations = ["outcomes-00000000.nc.xz", "outcomes-00000001.nc.xz"]
    assert list(rows[2]["files"]) == ["network.json", *evaluations, "stage2.json"]
    assert set(rows[2]["files"].values()) == {"working"}


def test_one_network_is_shown_with_the_origin_of_its_files(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = keep(from_profile("smoke", imbalance_factor=0.5))
    assert main(["show", digest[:5]]) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"{digest}  digits, smoke vgg16 x0.0625 IF 0.5, seed 0\n")
    assert "1.5 s  2026-01-01T00:00:00+00:00  commit c0ffeec0ff (dirty)  stage 1" in told
    assert "2.5 s  2026-01-01T00:00:00+00:00  commit c0ffeec0ff (dirty)  outcomes, w" in told
    assert main(["show", digest, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["network"] == store.find_record(digest)
    assert shown["stage2"] == store.find_record(digest, store.STAGE2)
    assert {file["place"] for file in shown["files"]} == {"working"}


def test_damage_is_named(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    digest = keep(from_profile("smoke", imbalance_factor=0.5))
    record = paths.runs(digest) / "network.json"
    record.write_text(record.read_text().replace('"digits"', '"fidgit"', 1))
    commands = (["show"], ["show", digest], [*SMOKE, "--imbalance-factor", "0.5"], ["publish"])
    for arguments in commands:
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert str(record) in error
        assert error.count("\n") == 1


def test_a_missing_device_is_refused_before_any_work(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    assert main([*SMOKE, "--device", "cuda"]) == 2
    assert "this machine has none" in capsys.readouterr().err
    assert not list(home.rglob("*"))


@pytest.mark.parametrize("changed", [True, False], ids=["changed", "as-committed"])
def test_a_changed_verdict_is_exit_code_1(
    changed: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ltqlib.cli import claims as command
    from ltqlib.paper import claims

    told = claims.committed()
    (claim, *_) = claims.CLAIMS
    verdict = next(v for v in claims.VERDICTS if (v != told[claim.key]) == changed)
    tests = (claims.Difference("gap", 3.25, 1.0, 5.5),)
    result = claims.Result(claim, verdict, tests)
    monkeypatch.setattr(command, "_check_networks", lambda profile: None)
    monkeypatch.setattr(claims, "evaluate_claims", lambda profile, source: [result])
    assert main(["claims"]) == (1 if changed else 0)
    shown = capsys.readouterr()
    assert claim.sentence in shown.out
    assert "gap: +3.25 [+1.00, +5.50] points" in shown.out
    assert shown.err.count("\n") == changed
    assert main(["claims", "--profile", "smoke"]) == 0  # the book is not about it


def test_python_m_is_the_same_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ltqlib", "--help"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("usage: ltq")
    commands = re.findall(r"^    (\w+)", done.stdout, re.MULTILINE)
    assert commands == ["run", "show", "claims", "publish", "audit"]


def test_a_reader_that_leaves_is_no_error(home: Path) -> None:
    for seed in range(3):
        keep(from_profile("smoke", imbalance_factor=0.5, seed=seed))
    done = subprocess.run(
        f"{sys.executable} -u -m ltqlib show | true",
        shell=True,
        env={**os.environ, "LTQ_HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""


def test_an_interrupt_amid_an_exec_has_its_exit_code_too(tmp_path: Path) -> None:
    """``python -m`` dies of SIGINT, whatever ``main`` returns, if KeyboardInterrupt met an exec."""
    tmp_path.joinpath("stopped.py").write_text(
        "import sys\n"
        "from ltqlib import cli\n"
        "amid = 'import os, signal, time; os.kill(os.getpid(), signal.SIGINT); time.sleep(9)'\n"
        "cli.show.main = lambda _: exec(amid)\n"
        "sys.exit(cli.main(['show']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "stopped"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == 130
    assert done.stderr == "ltq: interrupted; the same command goes on from here\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sent", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "termin")]
)
def test_a_stopped_training_says_so_in_one_line(
    sent: signal.Signals, code: int, word: str, home: Path
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "ltqlib", *SMOKE, "--epochs", "9999", "--threads", "1"],
        env={**os.environ, "LTQ_HOME": str(home)},
        stderr=subprocess.PIPE,
        text=True,
    )
    while not list(home.rglob(".lock")):
        assert process.poll() is None
        time.sleep(0.1)
    time.sleep(1)  # amid the training
    process.send_signal(sent)
    _, error = process.communicate(timeout=60)
    assert process.returncode == code
    assert word in error.splitlines()[-1]
    assert "Traceback" not in error
    assert not list(home.rglob("*.partial"))
