"""Packed files: as large as they say, the same weights back, and nothing but NumPy to read them."""

import inspect
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import load_file
from torch import nn

from ltqlib.deploy import fold_offsets, load_packed, packing, save_packed
from ltqlib.errors import InputError
from ltqlib.models.graph import Graph
from ltqlib.quantization import QTensor, Quantized, Variant, choose_qparams, quantize

METHODS = ("w-tensor", "w-channel", "wa-mse", "corrected-tensor", "gptq-channel")


def payload(path) -> int:
    """Bytes behind the header, as safetensors itself reads them."""
    return sum(tensor.numel() * tensor.element_size() for tensor in load_file(path).values())


def assert_loaded(quantized, path):
    """What the file holds is what the simulator computes with."""
    found = load_packed(path)
    state = quantized.model.state_dict()
    for name, layer in quantized.graph.layers.items():
        held = quantized.graph.held(name, torch.from_numpy(found[layer.attribute]))
        assert torch.equal(held, state[layer.attribute]), name
    return found


@pytest.mark.parametrize("bits", [8, 5, 3])
@pytest.mark.parametrize("method", METHODS)
def test_the_file_is_as_large_as_the_model_says_and_holds_its_weights(
    graph, images, tmp_path, method, bits
):
    try:
        quantized = quantize(graph, bits, method=method, calibration=images)
    except InputError as error:
        pytest.skip(str(error))
    size = save_packed(quantized, tmp_path / "model.safetensors")
    assert size == (tmp_path / "model.safetensors").stat().st_size
    assert payload(tmp_path / "model.safetensors") == quantized.model_size
    assert_loaded(quantized, tmp_path / "model.safetensors")


def test_mixed_widths_corrections_and_offsets(corrected, images, tmp_path):
    quantized = fold_offsets(corrected, np.arange(5.0))
    save_packed(quantized, tmp_path / "m.safetensors")
    assert payload(tmp_path / "m.safetensors") == quantized.model_size
    found = assert_loaded(quantized, tmp_path / "m.safetensors")
    for site, correction in quantized.biases.items():
        layer = quantized.graph.sites[site]
        before = quantized.graph.bias(layer)
        name = f"{layer}.bias" if before is not None else f"{layer}.weight.bias.{site}"
        expected = correction if before is None else before + correction
        np.testing.assert_array_equal(found[name], expected.numpy())
    difference = quantized(images) - corrected(images)
    torch.testing.assert_close(difference, torch.arange(5.0).expand(64, -1), rtol=0, atol=1e-5)


def test_tied_weights_with_one_correction_a_site(tmp_path):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.head = nn.Linear(6, 6), nn.Linear(6, 3)

        def forward(self, x):
            return self.head(torch.relu(self.layer(torch.relu(self.layer(x)))))

    graph = Graph.trace(Tied(), torch.rand(4, 6))
    quantized = quantize(graph, 3, method="corrected-tensor", calibration=torch.rand(8, 6))
    save_packed(quantized, tmp_path / "tied.safetensors")
    assert payload(tmp_path / "tied.safetensors") == quantized.model_size


@pytest.mark.parametrize("per_channel", [False, True], ids=["tensor", "channel"])
@pytest.mark.parametrize("symmetric", [False, True], ids=["asymmetric", "symmetric"])
def test_every_integer_comes_back(tmp_path, symmetric, per_channel):
    """13 weights a channel: rows of integers end inside of a byte."""
    graph = Graph.trace(nn.Linear(13, 3), torch.rand(2, 13))
    weight = torch.randn(3, 13)
    low, high = weight.aminmax(dim=1) if per_channel else weight.aminmax()
    for bits in range(2, 9):
        grid = choose_qparams(low, high, bits, symmetric)
        quantized = Quantized(graph, {"weight": Variant(QTensor.quantize(weight, grid))})
        save_packed(quantized, tmp_path / "one")
        assert payload(tmp_path / "one") == quantized.model_size
        assert_loaded(quantized, tmp_path / "one")


def test_the_metadata_say_what_each_layer_is(corrected, tmp_path):
    save_packed(corrected, tmp_path / "m.safetensors")
    content = (tmp_path / "m.safetensors").read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    layers = json.loads(header["__metadata__"]["layers"])
    assert layers["grouped"] == {
        "name": "grouped.weight", "shape": [12, 4, 3, 3], "bits": 5,
        "scheme": "symmetric per-channel",
    }  # fmt: skip


def test_the_loader_is_short_and_imports_neither_torch_nor_safetensors(corrected, tmp_path):
    functions = (packing.load_packed, packing._dequantized)
    lines = [line for function in functions for line in inspect.getsource(function).splitlines()]
    documented = len(inspect.getdoc(load_packed).splitlines())
    assert len([line for line in lines if line.strip()]) - documented <= 30
    save_packed(corrected, tmp_path / "m.safetensors")
    source = "\n".join(
        [
            "import hashlib, json, math, sys, numpy as np, numpy.typing as npt",
            "from pathlib import Path",
            "from typing import Any",
            "class InputError(Exception): pass",
            "Arrays = dict",
            f"FORMAT, DTYPES = {packing.FORMAT!r}, {packing.DTYPES!r}",
            *map(inspect.getsource, functions),
            f"found = load_packed({str(tmp_path / 'm.safetensors')!r})",
            "print(repr(float(found['first.weight'].astype(float).sum())), 'torch' in sys.modules)",
        ]
    )
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=True
    )
    expected = corrected.variants["first"].weight.dequantize().double().sum()
    value, torch_there = done.stdout.split()
    assert float(value) == pytest.approx(float(expected))
    assert torch_there == "False"


@pytest.mark.parametrize("damage", ["truncated", "altered", "foreign", "empty", "text", "missing"])
def test_damaged_and_foreign_files_are_refused_in_one_line(corrected, tmp_path, damage):
    path = tmp_path / "m.safetensors"
    save_packed(corrected, path)
    content = path.read_bytes()
    if damage == "foreign":
        save_file({"a": np.zeros(3, np.float32)}, path)
    elif damage == "missing":
        path.unlink()
    else:
        altered = content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]
        other = {"truncated": content[:-5], "altered": altered, "empty": b"", "text": b"[1, 2]" * 9}
        path.write_bytes(other[damage])
    with pytest.raises(InputError, match=r"m\.safetensors is (damaged|missing)") as refused:
        load_packed(path)
    assert "\n" not in str(refused.value)


def test_a_file_is_written_whole_or_not_at_all(corrected, tmp_path, monkeypatch):
    path = tmp_path / "m.safetensors"
    save_packed(corrected, path)
    before = path.read_bytes()
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(InputError, match="the disk is full"):
        save_packed(Quantized(corrected.graph, {}), path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.safetensors"]


@pytest.mark.parametrize("offsets", [[0.0] * 4, [0, 0, 0, 0, np.nan], 1.0])
def test_offsets_that_do_not_fit_are_refused(corrected, offsets):
    with pytest.raises(InputError, match="give one finite number a class"):
        fold_offsets(corrected, offsets)


def test_offsets_need_a_linear_layer_at_the_end():
    graph = Graph.trace(nn.Sequential(nn.Linear(4, 3), nn.Softmax(1)), torch.rand(2, 4))
    with pytest.raises(InputError, match="not in a linear layer"):
        fold_offsets(Quantized(graph, {}), [0.0, 1.0, 2.0])
