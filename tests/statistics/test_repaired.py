"""The repair, cross-fitted: it undoes a shift of the logits, and never sees the images it is
judged on."""

import numpy as np
import pytest
import xarray as xr
from scipy import special

from ltqlib.errors import InputError
from ltqlib.statistics.repair import fit_last_layer, match_means
from ltqlib.statistics.repaired import recovered, repair


@pytest.fixture
def logits() -> xr.DataArray:
    """Two seeds of a good model with 4 classes, and the same with class 3 pushed down."""
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 100)
    full = 3.0 * np.eye(4)[labels] + generator.normal(size=(2, 400, 4))
    shifted = full - [0, 0, 0, 4.0]
    half = np.where(np.arange(400) % 2, "choose", "judge")
    return xr.DataArray(
        np.stack([full, shifted], axis=1),
        dims=("seed", "bits", "image", "class"),
        coords={"bits": [32, 4], "label": ("image", labels), "half": ("image", half)},
    )


@pytest.mark.parametrize("match", [None, match_means, fit_last_layer])
def test_a_shift_of_the_logits_is_undone(logits: xr.DataArray, match: object) -> None:
    options = {} if match is None else {"match": match}
    right = (logits.argmax("class") == logits.label).mean("image")
    found = repair(logits, images=100, **options)  # type: ignore[arg-type]
    assert found.dims == ("seed", "bits", "image")
    assert (right.sel(bits=4) < right.sel(bits=32) - 0.1).all()
    assert (abs(found.sel(bits=4).mean("image") - right.sel(bits=32)) < 0.03).all()


def test_judged_images_are_never_matched(logits: xr.DataArray) -> None:
    seen: list[np.ndarray] = []

    def match(quantized: np.ndarray, full: np.ndarray) -> np.ndarray:
        seen.append(full)
        return np.zeros(4)

    repair(logits.isel(seed=[0]), match=match, images=200, draws=1)
    for half, mine in zip(("choose", "judge"), seen, strict=True):
        other = logits.sel(bits=32).isel(seed=0, image=np.flatnonzero(logits.half != half)).values
        assert {row.tobytes() for row in mine} == {row.tobytes() for row in other}


def test_more_images_than_there_are(logits: xr.DataArray) -> None:
    with pytest.raises(InputError, match="201 images cannot be drawn from 200"):
        repair(logits, images=201)


def test_a_long_tailed_mix_is_drawn(logits: xr.DataArray) -> None:
    sizes: list[int] = []

    def match(quantized: np.ndarray, full: np.ndarray) -> np.ndarray:
        sizes.append(len(full))
        return np.zeros(4)

    repair(logits.isel(seed=[0]), match=match, images=60, draws=1, counts=[50, 5, 4, 1])
    assert sizes == [60, 60]


def test_images_of_their_own_are_drawn_for_both_halves(logits: xr.DataArray) -> None:
    others = logits.isel(image=slice(0, 50)) + 100.0
    seen: list[np.ndarray] = []

    def match(quantized: np.ndarray, full: np.ndarray) -> np.ndarray:
        seen.append(full)
        return np.zeros(4)

    repair(logits.isel(seed=[0]), match=match, images=50, draws=1, unlabelled=others.isel(seed=[0]))
    first, second = ({row.tobytes() for row in mine} for mine in seen)
    assert first == second
    assert first == {row.tobytes() for row in others.sel(bits=32).isel(seed=0).values}


def losses_of_one_class() -> tuple[xr.DataArray, xr.DataArray]:
    """A loss of about a third, and what is left of it after a remedy, of the same 500 images."""
    generator = np.random.default_rng(1)
    before = (generator.random(500) < 0.3).astype(float)
    after = before * (generator.random(500) < 0.25) - (generator.random(500) < 0.02)
    return tuple(  # type: ignore[return-value]
        xr.DataArray(each, {"label": ("image", np.zeros(500, int))}, "image")
        for each in (before, after)
    )


def test_the_share_given_back_has_fieller_s_interval() -> None:
    before, after = losses_of_one_class()
    found = recovered(before, after, by="norm").loc["norm"]
    b, a = before.mean().item(), after.mean().item()
    vb, cab, _, va = (np.cov(before, after) / 500).ravel()
    z2 = special.ndtri(0.975) ** 2
    # (a - q b)^2 = z^2 (va - 2 q cab + q^2 vb), q the share that is left
    left = np.roots([b**2 - z2 * vb, -2 * (a * b - z2 * cab), a**2 - z2 * va])
    assert found["value"] == pytest.approx(100 * (1 - a / b))
    assert [found["low"], found["high"]] == pytest.approx(sorted(100 * (1 - left)), abs=0.01)


def test_a_loss_that_is_none_has_no_share_with_an_interval() -> None:
    before, after = losses_of_one_class()
    found = recovered(before - before.mean(), after, by="norm")
    assert found[["low", "high"]].isna().all().all()
    assert "Percent of the loss" in found.note()
