"""Interactions of pairs against sums by hand, their optimum against every allocation there is."""

import itertools

import numpy as np
import pytest
import xarray as xr
from allocation_tables import table

from ltqlib.allocation import (
    InfeasibleError,
    Limit,
    Objective,
    interactions,
    pair_losses,
    pair_widths,
    predicted_losses,
    solve,
)
from ltqlib.allocation.costs import by_layer
from ltqlib.errors import InputError

LAYERS, WIDTHS = ("a", "b", "c", "d", "e"), (6, 4, 3)
PAIRS = list(itertools.combinations(range(len(LAYERS)), 2))
EVERY = np.array(list(itertools.product(WIDTHS, repeat=len(LAYERS))))
PARAMETERS = dict(zip(LAYERS, (10, 40, 30, 15, 5), strict=True))


def model(seed: int, strength: float = 1.0) -> tuple[xr.DataArray, xr.DataArray]:
    """Losses of layers alone, and of pairs beyond the sum."""
    generator = np.random.default_rng(seed)
    losses = generator.exponential(size=(4, len(LAYERS), len(WIDTHS))) * np.array([0.1, 1.0, 3.0])
    coords = {
        "class": range(4),
        "first": ("pair", [LAYERS[i] for i, _ in PAIRS]),
        "second": ("pair", [LAYERS[j] for _, j in PAIRS]),
        "bits": list(WIDTHS),
        "other_bits": list(WIDTHS),
    }
    found = xr.DataArray(
        strength * generator.normal(size=(4, len(PAIRS), 3, 3)),
        coords,
        ["class", "pair", "bits", "other_bits"],
    )
    return table(losses, LAYERS, WIDTHS), found


def by_hand(losses: xr.DataArray, pairs: xr.DataArray, widths: np.ndarray) -> np.ndarray:
    """Sum over layers and pairs, one after another."""
    at = [WIDTHS.index(bits) for bits in widths]
    total = sum(losses.values[:, layer, w] for layer, w in enumerate(at))
    for number, (i, j) in enumerate(PAIRS):
        total = total + pairs.values[:, number, at[i], at[j]]
    return total


def test_losses_are_singles_and_pairs() -> None:
    losses, pairs = model(0)
    expected = [by_hand(losses, pairs, widths) for widths in EVERY]
    rows = xr.DataArray(EVERY, {"layer": list(LAYERS)}, ["configuration", "layer"])
    found = predicted_losses(losses, rows, pairs).transpose("configuration", "class")
    np.testing.assert_allclose(found, expected)
    turned = by_layer(dict(reversed(list(zip(LAYERS, EVERY[7].tolist(), strict=True)))))
    np.testing.assert_allclose(predicted_losses(losses, turned, pairs), expected[7])
    seeds = [x.expand_dims(seed=2) * xr.DataArray([1, 2], dims="seed") for x in (losses, pairs)]
    two = predicted_losses(seeds[0], rows.isel(configuration=[7, 9]).rename(configuration="seed"),
                           seeds[1]).transpose("seed", "class")  # fmt: skip
    np.testing.assert_allclose(two, [expected[7], 2 * expected[9]])
    with pytest.raises(InputError, match="pair with layer e"):
        predicted_losses(losses, rows.isel(layer=slice(4)), pairs)


@pytest.mark.parametrize("objective", ["mean", "tail", "worst + 0.01*mean", "cvar:0.5 + 0.1*mean"])
@pytest.mark.parametrize("limit", [3.2, 4.0, 4.5])
def test_nothing_within_the_limit_is_better(objective: str, limit: float) -> None:
    (losses, pairs), wanted = model(1), Objective.parse(objective, {"tail": [2, 3]})
    average = Limit.average_weight_bits(PARAMETERS, WIDTHS, limit)
    found = solve(losses, [average], wanted, interactions=pairs)
    share = np.array(list(PARAMETERS.values())) / sum(PARAMETERS.values())
    kept = EVERY[EVERY @ share <= limit + 1e-9]
    values = [wanted.value(by_hand(losses, pairs, widths)) for widths in kept]
    assert found.objective == pytest.approx(min(values), abs=1e-6)
    assert found.gap == pytest.approx(0, abs=1e-5)
    assert found.costs["average weight bits"] <= limit + 1e-9


@pytest.mark.parametrize("most", [4.0, 7.0])
def test_a_limit_on_every_class_counts_pairs_as_well(most: float) -> None:
    losses, pairs = model(4)
    average = Limit.average_weight_bits(PARAMETERS, WIDTHS, np.inf)
    every = [by_hand(losses, pairs, widths) for widths in EVERY]
    kept = [each.mean() for each in every if each.max() <= most + 1e-9]
    found = solve(losses, [average], Objective.mean(), max_class_loss=most, interactions=pairs)
    assert found.objective == pytest.approx(min(kept), abs=1e-6)
    assert found.class_losses.max() <= most + 1e-6


def test_without_interactions_it_is_the_additive_optimum() -> None:
    losses, pairs = model(2, strength=0.0)
    average = Limit.average_weight_bits(PARAMETERS, WIDTHS, 4.1)
    found = solve(losses, [average], Objective.mean(), interactions=pairs)
    additive = solve(losses, [average], Objective.mean())
    assert found.widths == additive.widths
    assert found.objective == pytest.approx(additive.objective)


def test_pairs_are_read_by_name_and_what_was_not_measured_counts_nothing() -> None:
    losses, pairs = model(5)
    average = Limit.average_weight_bits(PARAMETERS, WIDTHS, 4.1)
    turned = pairs.rename(first="second", second="first", bits="other_bits", other_bits="bits")
    turned = turned.isel(pair=slice(None, None, -1))
    one = solve(losses, [average], Objective.worst(), interactions=pairs)
    other = solve(losses, [average], Objective.worst(), interactions=turned)
    assert one.widths == other.widths
    assert one.objective == pytest.approx(other.objective)
    few = pairs.isel(pair=[3]).sel(bits=[4, 3], other_bits=[4, 3])
    padded = xr.zeros_like(pairs)
    padded.values[:, 3, 1:, 1:] = few.values[:, 0]
    for limit in (3.5, 4.5):
        average = Limit.average_weight_bits(PARAMETERS, WIDTHS, limit)
        found = [solve(losses, [average], Objective.worst(), interactions=p) for p in (few, padded)]
        assert found[0].objective == pytest.approx(found[1].objective)


def test_a_limit_that_nothing_keeps_is_named_with_the_least_one() -> None:
    losses, pairs = model(3)
    average = Limit.average_weight_bits(PARAMETERS, WIDTHS, 2.0)
    with pytest.raises(InfeasibleError, match="average weight bits to at least 3"):
        solve(losses, [average], Objective.mean(), interactions=pairs)


def test_bad_input_is_refused() -> None:
    losses, pairs = model(0)
    with pytest.raises(InputError, match="other classes than the losses"):
        solve(losses, [], Objective.mean(), interactions=pairs.isel({"class": [0, 1]}))
    with pytest.raises(InputError, match="not finite"):
        solve(losses, [], Objective.mean(), interactions=pairs.where(pairs.pair > 0))
    with pytest.raises(InputError, match="name layer a"):
        solve(losses.isel(layer=slice(1, None)), [], Objective.mean(), interactions=pairs)
    with pytest.raises(InputError, match="tied layers and interactions"):
        solve(losses, [], Objective.mean(), tied=[["a", "b"]], interactions=pairs)
    with pytest.raises(InputError, match="has 5 bits"):
        predicted_losses(losses, by_layer(dict.fromkeys(LAYERS, 5)))


def outcomes(widths: xr.DataArray, images: int = 60) -> xr.Dataset:
    """Random predictions, right or not, of three classes."""
    generator = np.random.default_rng(1)
    shape = (widths.sizes["configuration"], images)
    return xr.Dataset(
        {"right": (("configuration", "image"), generator.random(shape) < 0.7)},
        {"label": ("image", np.arange(images) % 3)},
    )


def test_interactions_are_measured_beyond_the_sum_of_single_losses() -> None:
    widths = pair_widths(LAYERS[:3], (5, 3))
    assert len(np.unique(widths, axis=0)) == len(widths) == 1 + 3 * 2 + 3 * 4
    order = np.random.default_rng(0).permutation(len(widths))  # found by their widths
    widths = widths.isel(configuration=order)
    seen = outcomes(widths)
    found = pair_losses(seen, widths)
    rows = {tuple(row): number for number, row in enumerate(widths.values.tolist())}
    for label, (i, j), a, b in itertools.product(
        range(3), itertools.combinations(range(3), 2), (5, 3), (5, 3)
    ):

        def wrong(chosen, label=label):
            row = rows[tuple(chosen.get(k, 32) for k in range(3))]
            return 100 * (1 - seen.right.values[row, seen.label.values == label].mean())

        expected = wrong({i: a, j: b}) - wrong({i: a}) - wrong({j: b}) + wrong({})
        pair = (found["first"] == LAYERS[i]) & (found["second"] == LAYERS[j])
        at = {"class": label, "bits": a, "other_bits": b}
        value = found.isel(pair=int(np.flatnonzero(pair)[0])).sel(at)
        assert float(value) == pytest.approx(expected)


def test_noise_is_shrunk_and_what_is_no_noise_is_not() -> None:
    widths = pair_widths(LAYERS, (4, 3))
    seen = outcomes(widths, images=600)
    plain, shrunk = pair_losses(seen, widths), pair_losses(seen, widths, shrink=True)
    assert float((shrunk**2).mean()) < 0.4 * float((plain**2).mean())
    two = (widths < 32).sum("layer") == 2
    broken = seen.right.where(~two, False).transpose(*seen.right.dims)  # any two layers ruin all
    exact = seen.assign(right=broken)
    exact.right.values[~two.values] = True
    np.testing.assert_allclose(pair_losses(exact, widths, shrink=True), 100)


def test_a_configuration_that_is_missing_is_named() -> None:
    widths = pair_widths(("a", "b"), (4,))
    values = xr.DataArray([0.0, 1.0, 2.0, 4.0], dims="configuration")
    assert float(interactions(values, widths).squeeze()) == 1.0
    with pytest.raises(InputError, match="a at 4, b at 4 bits and the rest float"):
        interactions(values[:3], widths[:3])
    with pytest.raises(InputError, match="1 layers at 1 widths have no pair"):
        pair_widths(("a",), (4,))
    with pytest.raises(InputError, match="class 0 has one image"):
        pair_losses(outcomes(widths).isel(image=slice(2, 5)), widths)
