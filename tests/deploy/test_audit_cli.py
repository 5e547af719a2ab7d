"""``ltq audit``: bad input is one line and exit code 2; a broken limit is exit code 3."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from audit_cases import COUNTS, Net, audited, net, pictures
from PIL import Image
from safetensors.torch import save_file

from ltqlib.cli import audit as command
from ltqlib.cli import main
from ltqlib.deploy import images, loading
from ltqlib.errors import InputError


def make() -> Net:
    """What ``--model`` names."""
    return Net()


@pytest.fixture
def folder(home: Path) -> Path:
    """Six classes: training images as many as there are, four test images each."""
    for split, counts in (("train", COUNTS), ("test", (4,) * 6)):
        for number, (image, label) in enumerate(zip(*pictures(counts, 1), strict=True)):
            place = home / "data" / split / f"c{label}"
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(place / f"{number}.png")
    return home / "data"


@pytest.fixture
def weights(home: Path) -> Path:
    """Of the small network."""
    save_file(net().state_dict(), home / "w.safetensors")
    return home / "w.safetensors"


MODEL = ["--model", f"{__name__}:make"]


def test_the_whole_command(
    folder: Path, weights: Path, home: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from ltqlib.deploy import report

    monkeypatch.setattr(report, "execute", lambda folder: __import__("nbformat").v4.new_notebook())
    given = [*MODEL, "--pixels", "--weights", str(weights), "--data", f"folder:{folder}"]
    given += [
        "--bits",
        "4,2",
        "--methods",
        "",
        "--out",
        str(home / "out"),
        "--test",
        f"again={folder / 'test'}",
    ]
    given += ["--unlabelled", str(folder / "train"), "--max-size", "1kB", "--shift"]
    assert main(["audit", *given, "--dry-run"]) == 0
    assert "s for" in capsys.readouterr().out
    assert not (home / "out").exists()
    assert main(["audit", *given]) == 3
    told = json.loads((home / "out" / "report.json").read_text())
    assert told["broken"] == ["model file, bytes"]
    assert (told["about"]["side"], told["about"]["unlabelled"]) == (16, sum(COUNTS))
    assert {"again", "noise 3", "jpeg 3"} <= set(told["others"])
    assert "model file, bytes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--model", "nothing"], "is none of torchvision:NAME"),
        (["--model", "nowhere.at:all"], "nowhere.at cannot be imported"),
        (["--model", "builtins:dict"], "returns dict, not a torch module"),
        (["--model", "math:pi"], "math:pi() fails (TypeError"),
        (["--model", "math:tau2"], "math has no 'tau2'"),
        (["--model", "torchvision:resnet9"], "no classifier 'resnet9'"),
        (["--model", "torchvision:resnet18"], "random weights"),
        (["--model", "net.onnx"], "net.onnx is missing"),
        (["--model", "net.onnx", "--weights", "w.pt"], "has its weights: leave out --weights"),
        (["--model", "abcdef12"], "names 0 networks"),
        ([*MODEL, "--weights", "none.safetensors"], "none.safetensors cannot be read"),
        ([*MODEL, "--weights", "{notes}"], "neither a safetensors file nor a state dictionary"),
        ([*MODEL, "--pixels", "--unlabelled", "{home}/nowhere"], "nowhere has no images"),
        ([*MODEL, "--pixels", "--test", "x"], "give NAME=PATH"),
        ([*MODEL, "--pixels", "--test", "x={home}"], "'data' that the data do not have"),
        ([*MODEL, "--max-size", "big"], "give bytes, or a number with kB or MB"),
        ([*MODEL, "--max-tail-drop", "-3"], "max_tail_drop is -3"),
        ([*MODEL, "--bits", "8,x"], "--bits"),
        ([*MODEL, "--mean", "1,2"], "give three numbers"),
        ([*MODEL, "--out", "{notes}"], "is a file"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_input(
    arguments: list[str], says: str, folder: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "notes.pt").write_text("no weights")
    filled = [a.format(home=home, notes=home / "notes.pt") for a in arguments]
    data = [] if "--data" in filled else ["--data", f"folder:{folder}"]
    assert main(["audit", "--out", str(home / "out"), *data, *filled]) == 2
    told = capsys.readouterr()
    assert says in told.err
    assert told.err.startswith("ltq: ")
    assert told.err.count("\n") == 1


def test_without_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", *MODEL]) == 2
    assert "--data is missing" in capsys.readouterr().err


def test_weights_of_all_kinds(tmp_path: Path, weights: Path) -> None:
    state = net().state_dict()
    wrapped = {"state_dict": {f"module.{name}": value for name, value in state.items()}}
    for number, held in enumerate((state, wrapped)):
        path = tmp_path / f"{number}.pt"
        torch.save(held, path)
        model = Net()
        loading.load_weights(model, path)
        assert torch.equal(model.last.weight, net().last.weight)
    loading.load_weights(model := Net(), weights)
    assert torch.equal(model.first.bias, net().first.bias)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: s.pop("last.bias"), "'last.bias' is missing (of 6 tensors 1 are)"),
        (lambda s: s.update(more=torch.zeros(1)), "which has no 'more'"),
        (lambda s: s.update({"last.bias": torch.zeros(9)}), "'last.bias' is (9,) in the file"),
    ],
)
def test_weights_that_do_not_match(change: object, says: str, tmp_path: Path) -> None:
    state = dict(net().state_dict())
    change(state)  # type: ignore[operator]
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(InputError) as raised:
        loading.load_weights(Net(), tmp_path / "w.safetensors")
    assert says in str(raised.value)


def test_a_pickle_is_never_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple:
            return Path.touch, (tmp_path / "sprung",)

    torch.save({"x": Trap()}, tmp_path / "w.pt")
    with pytest.raises(InputError, match="weights_only=True"):
        loading.read_state(tmp_path / "w.pt")
    assert not (tmp_path / "sprung").exists()


def test_the_side_is_what_most_images_have(tmp_path: Path) -> None:
    for number, size in enumerate([(40, 48), (40, 40), (40, 64), (9, 9)]):
        Image.new("RGB", size).save(tmp_path / f"{number}.png")
    (tmp_path / "5.png").write_text("no image")
    assert images.usual_side(str(tmp_path)) == 40
    with pytest.raises(InputError, match=r"5\.png does not decode"):
        images.read_unlabelled(str(tmp_path), 40)


def test_sizes_are_read_with_units() -> None:
    assert [command._size(text) for text in ("900", "2.5 MB", "3kb")] == [900, 2.5e6, 3000]
    assert np.isfinite(audited().candidates["size"]).all()


def test_networks_of_timm() -> None:
    pytest.importorskip("timm")
    from ltqlib.models import Graph

    graph = Graph.trace(loading.find_model("timm:resnet18", 5), torch.rand(2, 3, 32, 32))
    assert (graph.classes, len(graph.layers)) == (5, 21)
