"""Many configurations at once, against one module for each (the plain way)."""

import weakref
from typing import Any

import numpy as np
import pytest
import torch
from plain_way import (
    PRECISIONS,
    all_logits,
    input_variants,
    needs_bf16,
    one_layer_at_a_time,
    plain,
    weight_variants,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ltqlib.engine import predict, predict_module, predicted, whole
from ltqlib.errors import InputError

FLOAT, WIDTHS = 32, (2, 4, 8)
ARCHITECTURES = ("vgg16", "resnet32")


def mixed(graph, count: int) -> np.ndarray:
    """Configurations that share prefixes, some of them twice, with float layers among them."""
    rng = np.random.default_rng(0)
    rows = rng.choice([2, 4, 8, FLOAT], size=(count, len(graph.layers)))
    rows[count // 3 :, : len(graph.layers) // 2] = rows[0, : len(graph.layers) // 2]
    rows[1], rows[2] = rows[0], FLOAT
    rows[3] = 0
    return rows


def configurations(graph, kind: str) -> np.ndarray:
    if kind == "one layer at a time":
        return one_layer_at_a_time(graph, WIDTHS)
    if kind == "uniform":
        return np.repeat([[2], [4], [8], [FLOAT]], len(graph.layers), axis=1)
    return mixed(graph, 12)


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("kind", ["one layer at a time", "uniform", "mixed"])
def test_the_plain_way_gives_the_same(graphs, images, arch, kind):
    graph, images = graphs[arch], images[:20]
    variants, rows = weight_variants(graph, WIDTHS), configurations(graph, kind)
    expected = plain(graph, variants, rows, images)
    found = predict(graph, variants, rows, images, all_logits, precision="float32")["logits"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
    assert len(np.unique(expected.argmax(-1))) > 3
    for precision in PRECISIONS:
        classes = predict(graph, variants, rows, images, precision=precision)["predicted"]
        assert classes.dtype == np.uint8
        np.testing.assert_array_equal(classes, expected.argmax(-1))


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_quantized_inputs_are_those_of_the_plain_way(graphs, images, arch):
    graph, images = graphs[arch], images[:16]
    variants, rows = input_variants(graph, images, (4, 8)), mixed(graph, 8)
    rows[rows == 2] = 4
    expected = plain(graph, variants, rows, images)
    found = predict(graph, variants, rows, images, all_logits)["logits"]
    spread = expected.std()
    assert np.abs(found - expected).max() < 0.1 * spread  # a value may round to the other side
    assert np.abs(found - expected).mean() < 0.002 * spread
    assert np.abs(expected[0] - expected[2]).mean() > 0.05 * spread


def test_images_may_be_tensors(graphs, images):
    graph = graphs["vgg16"]
    variants, rows = weight_variants(graph, WIDTHS), mixed(graph, 6)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
    for same in (pixels, pixels.float()):
        np.testing.assert_array_equal(
            predict(graph, variants, rows, same)["predicted"],
            predict(graph, variants, rows, images)["predicted"],
        )


def test_shared_prefixes_are_computed_once(graphs, images):
    graph, calls = graphs["vgg16"], []
    variants = weight_variants(graph, (2, 3, 4, 5, 6, 8))
    rows = np.full((6, len(graph.layers)), 8)
    rows[:, -1] = [2, 3, 4, 5, 6, 8]

    class Counting(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if "conv" in str(func):
                calls.append(len(args[0]))
            return func(*args, **(kwargs or {}))

    counts = []
    for some in (rows, rows[:1]):
        calls.clear()
        with Counting():
            predict(graph, variants, some, images[:16], precision="float32")
        counts.append(sum(calls))
    assert counts[0] == counts[1] > 0


class Alive(TorchDispatchMode):
    """Bytes of the storages made while it is on, and their peak."""

    def __init__(self) -> None:
        super().__init__()
        self.known: set[int] = set()
        self.now = self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {a.untyped_storage()._cdata for a in tree_leaves(args) if torch.is_tensor(a)}
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if torch.is_tensor(tensor):
                self.count(tensor.untyped_storage(), given)
        return result

    def count(self, storage: torch.UntypedStorage, given: set[int]) -> None:
        if storage._cdata in self.known | given:
            return
        self.known.add(storage._cdata)
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self.gone, storage._cdata, storage.nbytes())

    def gone(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.now -= size


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_activations_stay_within_the_bound(graphs, images, arch):
    graph, mib = graphs[arch], 2**20
    variants, rows = weight_variants(graph, WIDTHS), one_layer_at_a_time(graph, WIDTHS)
    weights = sum(layer.parameters for layer in graph.layers.values()) * 4 * (len(WIDTHS) + 2)
    expected = predict(graph, variants, rows, images, precision="float32")["predicted"]
    peaks = {}
    for bound in (6 * mib, 64 * mib):
        with Alive() as alive:
            found = predict(graph, variants, rows, images, precision="float32", memory=bound)
        np.testing.assert_array_equal(found["predicted"], expected)
        peaks[bound] = alive.peak
    in_chunks = 8 * mib  # what a chunk takes on its way through a layer comes on top
    assert peaks[6 * mib] <= 6 * mib + in_chunks + weights
    assert peaks[6 * mib] < peaks[64 * mib] <= 64 * mib + in_chunks + weights


@needs_bf16
def test_bfloat16_settles_some_cases_and_not_all(graphs, images, monkeypatch):
    graph = graphs["vgg16"]
    variants, rows = weight_variants(graph, WIDTHS), one_layer_at_a_time(graph, WIDTHS)
    exact = predict(graph, variants, rows, images, precision="float32")["predicted"]
    monkeypatch.setattr("ltqlib.engine.predictions.CLOSE", 0.0)
    rounded = predict(graph, variants, rows, images, precision="bfloat16")["predicted"]
    assert 0 < (rounded != exact).mean() < 0.2  # so that settling has something to do


def test_bfloat16_on_a_processor_without_it_is_refused(graphs, images, monkeypatch):
    monkeypatch.setattr("ltqlib.engine.predictions.convolves_bf16", lambda device: False)
    variants, rows = weight_variants(graphs["vgg16"], (4,)), np.full((1, 16), 4)
    with pytest.raises(InputError, match="no convolution in bfloat16: use precision 'auto'"):
        predict(graphs["vgg16"], variants, rows, images, precision="bfloat16")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_whole_keeps_what_the_head_tail_curve_needs(graphs, images, precision):
    graph, head, tail = graphs["vgg16"], [0, 1, 2, 3], [4, 5, 6, 7, 8, 9]
    variants, rows = weight_variants(graph, WIDTHS), mixed(graph, 8)
    logits = plain(graph, variants, rows, images)
    reduce = whole({"head": head, "tail": tail})
    found = predict(graph, variants, rows, images, reduce, precision=precision)
    np.testing.assert_array_equal(found["best_head"], logits[..., head].argmax(-1))
    np.testing.assert_array_equal(found["best_tail"], 4 + logits[..., tail].argmax(-1))
    np.testing.assert_array_equal(found["predicted"], logits.argmax(-1))
    margin = logits[..., tail].max(-1) - logits[..., head].max(-1)
    np.testing.assert_array_equal(found["margin"] > 0, margin > 0)
    assert found["margin"].dtype == np.float32
    rounding = 1e-4 if precision == "float32" else 0.3 * margin.std()
    np.testing.assert_allclose(found["margin"], margin, rtol=0, atol=rounding)


def test_the_first_group_is_the_head_where_none_is_called_so():
    logits = torch.tensor([[3.0, 1.0, 2.0], [0.0, 5.0, 6.0]])
    found = whole({"many": [0], "medium": [1], "few": [2]})(logits)
    assert found["best_tail"].tolist() == [2, 2]
    assert found["margin"].tolist() == [-1, 6]
    assert found["predicted"].tolist() == [0, 2]
    for bad in ({}, {"head": [0]}, {"head": [0, 1], "tail": [1, 2]}, {"head": [], "tail": [1]}):
        with pytest.raises(InputError, match="no head and tail"):
            whole(bad)


def test_more_than_256_classes_take_two_bytes():
    assert predicted(torch.randn(3, 257))["predicted"].dtype == np.uint16
    assert predicted(torch.randn(3, 256))["predicted"].dtype == np.uint8


def test_a_module_alone_is_reduced_as_well(graphs, images):
    graph = graphs["vgg16"]
    found = predict_module(graph.module(), images, batch=16)
    expected = graph.logits(graph.pixels(images)).argmax(1)
    np.testing.assert_array_equal(found["predicted"], expected)


def test_bad_input_is_refused(graphs, images):
    graph = graphs["vgg16"]
    variants, rows = weight_variants(graph, (4,)), np.full((1, 16), 4)
    with pytest.raises(InputError, match=r"shape \(1, 2\): give one row or more of 16 widths"):
        predict(graph, variants, [[4, 4]], images)
    with pytest.raises(InputError, match="no variant of layer L1 at 3 bits"):
        predict(graph, variants, rows - 1, images, precision="float32")
    with pytest.raises(InputError, match="precision 'half' is unknown"):
        predict(graph, variants, rows, images, precision="half")
    with pytest.raises(InputError, match="bfloat16 needs a reducer with a gap"):
        predict(graph, variants, rows, images, all_logits, precision="bfloat16")
    with pytest.raises(InputError, match="raise memory or give fewer configurations"):
        predict(graph, variants, rows, images, precision="float32", memory=1000)
    with pytest.raises(InputError, match=r"images have shape \(3, 16, 16\)"):
        predict(graph, variants, rows, images[:, :16, :16], precision="float32")
