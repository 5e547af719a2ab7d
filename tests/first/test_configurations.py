"""Whole bit configurations at once, against one quantized copy of the network each."""

import numpy as np
import pytest
import torch

from ltqlib.first.config import from_profile
from ltqlib.first.errors import InputError
from ltqlib.first.models import build, fold_batchnorm, predict_logits, quantizable_layers
from ltqlib.first.quantization import SCHEMES, Bits, quantize_network
from ltqlib.first.sensitivity import Configurations

SCHEME = SCHEMES["w-tensor"]
FLOAT = 32


@pytest.fixture(scope="module")
def residual_network():
    """ResNet-32 at a quarter of the width, as initialized: its classes lie close together."""
    return fold_batchnorm(build(from_profile("resnet", width=0.25), 10))


def draw(network, count: int) -> np.ndarray:
    """Configurations that share prefixes, some of them twice, with float layers among them."""
    rng = np.random.default_rng(0)
    layers = len(quantizable_layers(network))
    rows = rng.choice([3, 4, 8, FLOAT], size=(count, layers))
    rows[count // 3 :, : layers // 2] = rows[0, : layers // 2]
    rows[1] = rows[0]
    rows[2] = FLOAT
    return rows


def one_by_one(network, images, rows) -> np.ndarray:
    """Logits of a quantized copy for each configuration."""
    names = list(quantizable_layers(network))
    logits = []
    for row in rows.tolist():
        chosen = {n: Bits(b) for n, b in zip(names, row, strict=True) if b != FLOAT}
        logits.append(predict_logits(quantize_network(network, chosen, SCHEME), images))
    return np.stack(logits)


@pytest.mark.parametrize(("kind", "every"), [("folded", 2), ("residual", 40)])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_configurations_predict_as_quantized_copies(request, kind, every, precision, smoke_images):
    network, images = request.getfixturevalue(f"{kind}_network"), smoke_images[::every]
    rows = draw(network, 9)
    many = Configurations(network, SCHEME, precision, batch=50)
    expected = one_by_one(network, images, rows)
    np.testing.assert_array_equal(many.predict(images, rows), expected.argmax(-1))
    np.testing.assert_allclose(many.logits(images, rows), expected, rtol=0, atol=1e-4)
    assert (many.settled > 0) == (precision == "bfloat16")


def test_without_settling_few_predictions_differ(folded_network, smoke_images):
    rows = draw(folded_network, 9)
    fast = Configurations(folded_network, SCHEME, "bfloat16")
    rounded = fast.predict(smoke_images, rows, settle=False)
    assert fast.settled == 0
    differs = rounded != fast.predict(smoke_images, rows)
    assert 0 < differs.mean() < 0.05


def test_what_is_not_wanted_is_left_out_and_changes_nothing(folded_network, smoke_images):
    images, rows = smoke_images[:60], draw(folded_network, 9)
    some = np.random.default_rng(1).random((len(rows), len(images))) < 0.3
    some[4] = False  # a configuration that no image wants
    some[:, 7] = False  # and an image that no configuration does
    many = Configurations(folded_network, SCHEME, "float32", batch=16)
    found, everything = many.predict(images, rows, some), many.predict(images, rows)
    assert not found[~some].any()
    np.testing.assert_array_equal(found[some], everything[some])


def test_shared_prefixes_are_computed_once(folded_network, smoke_images, monkeypatch):
    layers = len(quantizable_layers(folded_network))
    rows = np.full((6, layers), 8)
    rows[:, -1] = [2, 3, 4, 5, 6, 8]
    calls = []
    original = torch.nn.functional.conv2d

    def counted(*args, **kwargs):
        calls.append(len(args[0]))
        return original(*args, **kwargs)

    many = Configurations(folded_network, SCHEME, "float32")
    monkeypatch.setattr("ltqlib.first.sensitivity.walk.F.conv2d", counted)
    many.predict(smoke_images[:20], rows)
    together = sum(calls)
    calls.clear()
    many.predict(smoke_images[:20], rows[:1])
    assert together == sum(calls) > 0


def test_configurations_of_other_layers_are_refused(folded_network, smoke_images):
    with pytest.raises(InputError, match="16 widths"):
        Configurations(folded_network, SCHEME).predict(smoke_images[:2], [[4, 4]])
    with pytest.raises(InputError, match="precision 'half' is unknown"):
        Configurations(folded_network, SCHEME, "half")
