"""An audit end to end: what it says of every image is what plain quantized models say."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
from audit_cases import CLASSES, COUNTS, audited, graph, net, pictures, split

from ltqlib import engine
from ltqlib.data import Split
from ltqlib.deploy.audit import Audit, audit
from ltqlib.deploy.subject import IMAGENET, Normalized, prepare
from ltqlib.errors import InputError
from ltqlib.quantization import quantize

TORCH_IMAGES = torch.from_numpy(split().images).permute(0, 3, 1, 2)
TRAINING = pictures(COUNTS, 1)


@pytest.mark.parametrize("name", ["float", "8 bits", "4 bits", "2 bits", "2 bits, w-tensor"])
def test_every_call_is_that_of_the_plain_model(name: str) -> None:
    chosen = audited().outcomes.sel(configuration=name)
    widths = dict(zip(chosen["layer"].values, map(int, chosen["widths"].values), strict=True))
    model = quantize(net(), widths, TORCH_IMAGES[:2], str(chosen["method"].item()))
    with torch.no_grad():
        assert np.array_equal(chosen["predicted"], model(TORCH_IMAGES).argmax(1))


def test_the_model_is_worth_auditing() -> None:
    table = audited().classes("2 bits")
    assert table["float"].mean() > 60
    assert table["hurt"].any()


def test_shares_are_matched_on_the_images_without_labels() -> None:
    data = audit(graph(), TRAINING, split(), (3,), methods=())
    # the test set is the unlabelled images: then the repaired model calls each class as float does
    same = audit(graph(), TRAINING, split(), (3,), methods=(), unlabelled=split().images).outcomes
    calls = [
        np.bincount(same[what].sel(configuration=one), minlength=6)
        for what, one in (("predicted", "float"), ("matched", "3 bits"))
    ]
    assert calls[0].tolist() == calls[1].tolist()
    assert not np.array_equal(
        data.outcomes["matched"].sel(configuration="3 bits"),
        data.outcomes["predicted"].sel(configuration="3 bits"),
    )


def test_one_layer_at_a_time_is_the_plain_way() -> None:
    alone = audited().alone
    choose, _ = split().halves()
    pixels = torch.from_numpy(choose.images).permute(0, 3, 1, 2)
    for layer in alone["layer"].values:
        model = quantize(net(), {layer: 2}, pixels[:2], "w-channel")
        with torch.no_grad():
            right = model(pixels).argmax(1).numpy() == choose.labels
        assert np.array_equal(alone["right"].sel(layer=layer, bits=2), right)


def test_tables_fit_together() -> None:
    found = audited()
    assert found.uniform == ["8 bits", "4 bits", "2 bits"]
    assert list(found.classes("4 bits").index) == CLASSES
    mean = found.classes("2 bits")["lost"].mean()
    assert found.groups.loc[("as it is", "2 bits", "norm"), "value"] == pytest.approx(mean)
    name, repaired = found.recommended
    assert (name, repaired) in found.candidates.index
    assert set(found.bit_config) == {"first", "second", "last"}
    assert found.best_method in {"2 bits", "2 bits, w-tensor", "2 bits, corrected-channel"}
    assert found.verdicts["light"].isin(["kept", "unsure", "broken"]).all()
    assert found.others["other"].sizes["image"] == 54
    assert found.sensitivity.index.get_level_values("bits").unique().tolist() == [8, 4, 2]


def test_written_and_read_it_is_the_same(tmp_path: Path) -> None:
    audited().write(tmp_path)
    again = Audit.read(tmp_path)
    pd.testing.assert_frame_equal(again.candidates, audited().candidates)
    pd.testing.assert_frame_equal(again.classes("2 bits"), audited().classes("2 bits"))
    assert again.recommended == audited().recommended
    assert list(again.others) == ["other"]
    (tmp_path / "outcomes.nc.xz").write_bytes(b"damaged")
    with pytest.raises(InputError, match="damaged"):
        Audit.read(tmp_path)


def test_what_was_computed_is_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"bits": (4,), "methods": ("w-tensor",), "out": tmp_path}
    first = audit(graph(), TRAINING, split(), **given)

    def refuse(*args: object, **more: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(engine, "predict", refuse)
    again = audit(graph(), TRAINING, split(), **given)
    assert again.outcomes.equals(first.outcomes)
    with pytest.raises(AssertionError, match="computed again"):
        audit(graph(), TRAINING, split(), (5,), methods=(), out=tmp_path)


def test_a_sample_takes_all_classes_alike() -> None:
    found = audit(graph(), TRAINING, split(), (4,), methods=(), images=60)
    assert np.bincount(found.outcomes["label"]).tolist() == [10] * 6
    assert (found.about["images"], found.about["all_images"]) == (60, 180)


def test_a_method_that_a_network_does_not_allow_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ltqlib.quantization.methods.gptq.MOST_INPUTS", 50)
    found = audit(graph(), TRAINING, split(), (4,), methods=("gptq-channel",))
    assert "takes 50" in found.about["skipped"]["method gptq-channel"]
    assert found.outcomes["configuration"].values.tolist() == ["float", "4 bits"]


def small(images: int = 12, side: int = 16, classes: int = 6) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((images, side, side, 3), np.uint8), np.arange(images) % classes


SEVEN = small(14, classes=7)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            {"calibration": small(14, classes=7), "test": small(14, classes=7)},
            "6 outputs, the data 7 classes",
        ),
        ({"calibration": TRAINING[0]}, "nothing says which classes are rare"),
        ({"calibration": small(side=8)}, "calibration images are (8, 8, 3)"),
        ({"unlabelled": small(side=8)[0]}, "unlabelled images are (8, 8, 3)"),
        ({"bits": (9,)}, "whole numbers from 2 to 8"),
        ({"bits": ()}, "whole numbers from 2 to 8"),
        ({"method": "corrected-channel"}, "not local"),
        ({"methods": ("magic",)}, "'magic' is unknown"),
        ({"max_size": -1}, "max_size is -1"),
        ({"test": 3}, "test is a Split"),
        ({"test": "mnist"}, "'mnist' is unknown"),
        ({"groups": {"head": [17]}}, "which is no class"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_input_is_one_line(given: dict, says: str) -> None:
    labels = np.repeat(np.arange(6), 2)
    usual = {"calibration": TRAINING, "test": (np.zeros((12, 16, 16, 3), np.uint8), labels)}
    with pytest.raises(InputError) as raised:
        audit(graph(), **{**usual, **given})
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("groups", "head"),
    [
        ({"head": [0, 1], "tail": [4]}, (0, 1)),
        ({"tail": [4, 5]}, (0, 1, 2, 3)),
        ({"signs": [2, 3], "rest": [0]}, (2, 3)),
        ("many-medium-few", (0, 1)),
    ],
    ids=str,
)
def test_who_is_head_and_who_is_tail(groups: Any, head: tuple[int, ...]) -> None:
    sides = prepare(graph(), TRAINING, split(), groups=groups).sides
    assert sides["head"] == head
    assert sorted(sides["head"] + sides["tail"]) == list(range(6))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["resnet18", "mobilenet_v2", "efficientnet_b0", "convnext_tiny", "vit_b_16"]
)
def test_torchvisions_networks_are_audited(name: str) -> None:
    torch.manual_seed(0)
    options = {"image_size": 32} if name == "vit_b_16" else {}
    model = getattr(torchvision.models, name)(num_classes=4, **options).eval()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (32, 32, 32, 3), dtype=np.uint8)
    test = Split.of(images, np.repeat(np.arange(4), 8), counts=[9, 7, 2, 1])
    found = audit(model, images, test, (8, 4), methods=(), normalize=IMAGENET)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
    with torch.no_grad():
        expected = Normalized(model, *IMAGENET)(pixels).argmax(1)
    assert np.array_equal(found.outcomes["predicted"].sel(configuration="float"), expected)
    assert len(found.bit_config) == found.outcomes.sizes["layer"]
