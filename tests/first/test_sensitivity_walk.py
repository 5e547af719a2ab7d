"""The walk: precision, picks, memory; each against float32 or a count made elsewhere."""

import weakref
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ltqlib.first.config import from_profile
from ltqlib.first.errors import InputError
from ltqlib.first.models import build, fold_batchnorm
from ltqlib.first.quantization import SCHEMES
from ltqlib.first.sensitivity import Sweep, one_layer_at_a_time
from ltqlib.first.sensitivity.walk import toeplitz

SCHEME, WIDTHS = SCHEMES["w-tensor"], (8, 4, 2)


@pytest.fixture(scope="module")
def residual_network():
    """ResNet-32 at a quarter of the width, as initialized: its classes lie close together."""
    return fold_batchnorm(build(from_profile("resnet", width=0.25), 10))


def wanted(sweep: Sweep, images: np.ndarray) -> np.ndarray:
    return np.ones((len(sweep.layers), len(sweep.widths), len(images)), dtype=bool)


@pytest.mark.parametrize(("kind", "every"), [("folded", 2), ("residual", 40)])
def test_bfloat16_with_close_cases_settled_predicts_as_float32(request, kind, every, smoke_images):
    network, images = request.getfixturevalue(f"{kind}_network"), smoke_images[::every]
    exact = Sweep(network, WIDTHS, SCHEME)
    fast = Sweep(network, WIDTHS, SCHEME, precision="bfloat16")
    everything = wanted(exact, images)
    np.testing.assert_array_equal(
        fast.predict(images, everything), exact.predict(images, everything)
    )
    assert 0 < fast.settled < everything.size  # neither precision did all the work
    assert exact.settled == 0


def test_the_error_of_bfloat16_is_that_of_rounding(folded_network, smoke_images):
    sweep = Sweep(folded_network, WIDTHS, SCHEME)
    error = sweep.error(smoke_images[::20])
    logits = folded_network(torch.from_numpy(smoke_images[::20]).permute(0, 3, 1, 2))
    spread = float((logits.amax(1) - logits.amin(1)).mean())
    assert error.shape == (16, 3)
    assert (error > 0).all()
    assert (error < spread * 2**-4).all()  # 13 roundings to 8 bits do not add up to 4


def test_auto_takes_bfloat16_where_the_chip_has_units(folded_network, monkeypatch):
    for units, expected in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(
            "ltqlib.first.sensitivity.precision.has_bf16_units", lambda _, u=units: u
        )
        assert Sweep(folded_network, WIDTHS, SCHEME, precision="auto").precision == expected


@pytest.mark.parametrize("kind", ["folded", "residual"])
def test_what_is_not_wanted_is_left_out_and_changes_nothing(request, kind, smoke_images):
    sweep = Sweep(request.getfixturevalue(f"{kind}_network"), WIDTHS, SCHEME)
    images = smoke_images[:16]
    some = np.random.default_rng(0).random(wanted(sweep, images).shape) < 0.2
    some[:, :, 7] = False  # an image wanted for nothing
    whole = sweep.predict(images, wanted(sweep, images))
    np.testing.assert_array_equal(sweep.predict(images, some), np.where(some, whole, 0))


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


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(("kind", "count"), [("folded", 32), ("residual", 6)])
def test_activations_stay_within_the_bound(request, kind, count, precision, smoke_images):
    bound = 6 * 2**20
    network = request.getfixturevalue(f"{kind}_network")
    sweep = Sweep(network, WIDTHS, SCHEME, precision=precision, memory=bound)
    images = smoke_images[:count]
    sweep.predict(images, wanted(sweep, images))  # weights are made, which do not count
    with Alive() as alive:
        sweep.predict(images, wanted(sweep, images))
    assert bound / 12 < alive.peak <= bound


def test_bad_input_is_refused(folded_network, smoke_images):
    with pytest.raises(InputError, match="precision 'half' is unknown"):
        one_layer_at_a_time(folded_network, smoke_images, WIDTHS, SCHEME, precision="half")
    with pytest.raises(InputError, match="raise memory or try fewer widths"):
        one_layer_at_a_time(folded_network, smoke_images, WIDTHS, SCHEME, memory=1000)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (1, 2)])
def test_toeplitz_is_the_convolution(size):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(5, 3, 3, 3, generator=generator)
    x = torch.randn(4, 3, *size, generator=generator)
    flat = x.permute(0, 2, 3, 1).flatten(1) @ toeplitz(weight, *size)
    expected = F.conv2d(x, weight, padding=1).permute(0, 2, 3, 1).flatten(1)
    torch.testing.assert_close(flat, expected)
