"""Interactions of layers: the order of models, the record, the statistics, the quadratic model."""

import itertools

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import torch

from ltqlib.first import data, interactions, longtail
from ltqlib.first.config import from_profile
from ltqlib.first.errors import InputError
from ltqlib.first.interactions import Pairs
from ltqlib.first.models import Network, predict_logits, quantizable_layers
from ltqlib.first.quantization import SCHEMES, Bits, quantize_network
from ltqlib.first.records import pack
from ltqlib.first.steps import pairing


def test_models_are_float_singles_and_pairs_each_once() -> None:
    rows = interactions.configurations(4, (5, 3))
    assert len(rows) == 1 + 8 + 6 * 4
    assert len(np.unique(rows, axis=0)) == len(rows)
    assert ((rows != 32).sum(1) == [0] + [1] * 8 + [2] * 24).all()
    assert rows[1].tolist() == [5, 32, 32, 32]
    assert rows[9:13].tolist() == [[a, b, 32, 32] for a, b in ((5, 5), (5, 3), (3, 5), (3, 3))]


def test_a_pair_knows_its_two_singles() -> None:
    rows = interactions.configurations(5, (5, 4, 3))
    first, second = interactions.partners(5, 3)
    singles, both = rows[1:16], rows[16:]
    for pair, one, other in zip(both, singles[first], singles[second], strict=True):
        assert np.minimum(one, other).tolist() == pair.tolist()


@pytest.mark.parametrize(("layers", "widths"), [(1, (4,)), (3, ())])
def test_no_pair_is_refused(layers: int, widths: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="no pair"):
        interactions.configurations(layers, widths)


def test_interactions_are_what_the_definition_says() -> None:
    layers, widths, images = 3, 2, 7
    values = np.random.default_rng(0).normal(size=(1 + 6 + 12, images))
    found = iter(interactions.measure(values, layers, widths))
    rows = iter(values[7:])
    for i, j in itertools.combinations(range(layers), 2):
        for a, b in itertools.product(range(widths), repeat=2):
            alone = values[1 + i * widths + a] + values[1 + j * widths + b]
            np.testing.assert_allclose(next(found), next(rows) - alone + values[0])


@pytest.fixture(scope="module")
def small(folded_network: Network, digits: data.Dataset) -> tuple[Network, data.Dataset, dict]:
    """The step on 60 digits, at two widths, with what it is given."""
    at = np.sort(np.concatenate([np.flatnonzero(digits.test_labels == c)[:6] for c in range(10)]))
    few = data.Dataset(**{**vars(digits), "test_images": digits.test_images[at],
                          "test_labels": digits.test_labels[at]})  # fmt: skip
    parents = {"data": {"payload": {"select": pack(longtail.select_mask(few.test_labels))}}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairing, "checked_dataset", lambda *_: few)
        patch.setattr(pairing, "folded", lambda *_: folded_network)
        payload = pairing.pairs(
            from_profile("smoke"), parents, "cpu",
            model="crt", scheme="w-tensor", bits=[4, 2], loss_images=2,
        )  # fmt: skip
    return folded_network, few, payload


def directly(network: Network, dataset: data.Dataset, widths: npt.NDArray) -> npt.NDArray:
    """Logits of one bit configuration by rounding the network itself."""
    names = list(quantizable_layers(network))
    bits = {n: Bits(int(b)) for n, b in zip(names, widths, strict=True) if b != 32}
    return predict_logits(quantize_network(network, bits, SCHEMES["w-tensor"]), dataset.test_images)


@pytest.mark.slow
def test_the_step_measures_what_rounding_the_network_gives(small: tuple) -> None:
    network, dataset, payload = small
    labels, select = dataset.test_labels, longtail.select_mask(dataset.test_labels)
    rows = interactions.configurations(16, (4, 2))
    accuracy = Pairs.of_accuracy(payload, (4, 2))
    loss = Pairs.of_loss(payload, (4, 2))
    for i, j, a, b in ((0, 1, 0, 0), (2, 9, 1, 0), (7, 15, 0, 1), (14, 15, 1, 1)):
        pair = list(itertools.combinations(range(16), 2)).index((i, j))
        four = [0, 1 + 2 * i + a, 1 + 2 * j + b, 33 + 4 * pair + 2 * a + b]
        logits = [directly(network, dataset, rows[row]) for row in four]
        right = [found.argmax(1) == labels for found in logits]
        nats = [
            torch.nn.functional.cross_entropy(
                torch.from_numpy(found), torch.from_numpy(labels), reduction="none"
            ).numpy()
            for found in logits
        ]
        for label, half in itertools.product(range(10), (0, 1)):
            cell = np.flatnonzero((labels == label) & (select == (half == 0)))
            e = -100.0 * (1.0 * right[3] - right[1] - right[2] + right[0])[cell]
            where = (pair, a, b, label, half)
            assert accuracy.interactions[where] == pytest.approx(e.mean())
            assert accuracy.variances[where] == pytest.approx(e.var(ddof=1) / len(cell))
            e = (nats[3] - nats[1] - nats[2] + nats[0])[cell[:2]]
            assert loss.interactions[where] == pytest.approx(e.mean(), rel=2e-3, abs=2e-5)
            assert loss.variances[where] == pytest.approx(e.var(ddof=1) / 2, rel=4e-3, abs=2e-9)
            assert accuracy.singles[i, a, label, half] == pytest.approx(
                100 * (right[0][cell].mean() - right[1][cell].mean())
            )
            assert loss.singles[j, b, label, half] == pytest.approx(
                (nats[2] - nats[0])[cell[:2]].mean(), rel=2e-3, abs=2e-5
            )


@pytest.mark.slow
def test_the_loss_is_measured_on_the_images_asked_for(small: tuple) -> None:
    assert small[2]["loss"]["images"] == [[2, 2]] * 10
    assert small[2]["accuracy"]["images"] == [[3, 3]] * 10


def test_the_first_images_of_each_class_and_half() -> None:
    cells = np.array([0, 1, 0, 0, 1, 2])
    assert pairing.first_of_each(cells, 2).tolist() == [0, 1, 2, 4, 5]


def simulated(seed: int, strength: float, noise: float, layers: int = 8) -> Pairs:
    """Interactions of known size, the two halves measured with independent noise."""
    generator = np.random.default_rng(seed)
    pairs = layers * (layers - 1) // 2
    singles = generator.exponential(size=(layers, 3, 10, 1)) * np.array([0.5, 1, 4])[:, None, None]
    truth = strength * generator.normal(size=(pairs, 3, 3, 1, 1))
    shape = (pairs, 3, 3, 10, 2)
    return Pairs(
        tuple(f"L{n + 1}" for n in range(layers)),
        (5, 4, 3),
        np.full((10, 2), 30.0),
        np.broadcast_to(singles, (layers, 3, 10, 2)),
        truth + noise * generator.normal(size=shape),
        np.full(shape, noise**2),
    )


def test_the_table_names_each_pair_and_averages_its_classes() -> None:
    pairs = simulated(0, 1.0, 0.5)
    table = interactions.pair_table(pairs, [1, 4])
    assert len(table) == 28 * 9
    for number, ((i, j), a, b) in enumerate(
        itertools.product(itertools.combinations(range(8), 2), range(3), range(3))
    ):
        row = table.iloc[number]
        assert (row["first"], row["second"]) == (f"L{i + 1}", f"L{j + 1}")
        assert (row["bits_first"], row["bits_second"]) == ((5, 4, 3)[a], (5, 4, 3)[b])
        assert row["distance"] == j - i
        where = number // 9, a, b
        assert row["interaction"] == pytest.approx(pairs.interactions[where][[1, 4]].mean())
        alone = pairs.singles[i, a, [1, 4], 1].mean() + pairs.singles[j, b, [1, 4], 1].mean()
        found = pairs.interactions[where][[1, 4], 1].mean()
        assert row["both_report"] == pytest.approx(alone + found)
    assert table["error"].to_numpy() == pytest.approx(0.25)  # 0.5 over four cells


def test_noise_alone_is_rarely_called_an_interaction() -> None:
    """Holm holds the chance of a single false alarm at 5 %; plain p-values are uniform."""
    alarms, p = 0, []
    for seed in range(60):
        table = interactions.tested(
            interactions.pair_table(simulated(seed, 0.0, 1.0), list(range(4)))
        )
        alarms += bool((table["holm"] < 0.05).any())
        p.append((table["p"] < 0.05).mean())
    assert alarms <= 8
    assert np.mean(p) == pytest.approx(0.05, abs=0.01)


def test_large_interactions_are_found_and_holm_is_the_adjustment() -> None:
    table = interactions.tested(interactions.pair_table(simulated(1, 5.0, 1.0), list(range(4))))
    assert (table["holm"] < 0.05).mean() > 0.5
    order = np.sort(table["p"])
    assert table["holm"].min() == pytest.approx(min(1.0, len(order) * order[0]))


@pytest.mark.parametrize("strength", [0.0, 0.5, 2.0])
def test_the_true_share_does_not_take_noise_for_interaction(strength: float) -> None:
    noisy, clean = (
        interactions.additivity(
            interactions.pair_table(simulated(2, strength, noise, layers=16), [0, 1, 2])
        )
        for noise in (3.0, 0.0)
    )
    assert noisy["true_share"] == pytest.approx(clean["share"], abs=0.05)
    assert noisy["share"] < clean["share"] - 0.05
    assert clean["true_size"] == pytest.approx(strength, abs=0.2)


def test_reliability_is_the_share_of_truth_in_a_half() -> None:
    table = interactions.pair_table(simulated(3, 1.0, 2.0), [0, 1, 2, 3])
    assert interactions.reliability(table) == pytest.approx(0.5, abs=0.08)  # 1 / (1 + 2^2 / 4)


def test_a_loss_that_cannot_be_lost_twice_is_a_survival() -> None:
    """Interactions of exactly -x y / room: the rule finds them, and they fall with the product."""
    pairs = simulated(4, 0.0, 0.0)
    first, second = interactions.partners(8, 3)
    singles = pairs.singles.reshape(-1, 10, 2).mean(1, keepdims=True)
    product = -singles[first] * singles[second] / 70
    exact = np.broadcast_to(product.reshape(28, 3, 3, 1, 2), pairs.interactions.shape)
    table = interactions.pair_table(
        Pairs(pairs.layers, pairs.widths, pairs.floating, pairs.singles, exact, pairs.variances),
        list(range(10)),
    )
    errors = interactions.rules(table, 70.0)
    assert errors["survival"] == pytest.approx(0, abs=1e-9)
    assert errors["survival"] < errors["sum"] < errors["largest"]
    assert interactions.saturation(table)["product"] == pytest.approx(-1)


def test_noise_shared_by_singles_and_interactions_is_no_saturation() -> None:
    """A single's noise enters the interaction with the opposite sign, within a half alone."""
    generator = np.random.default_rng(5)
    pairs = simulated(5, 0.0, 0.0, layers=16)
    noise = generator.normal(size=pairs.singles.shape)
    first, second = interactions.partners(16, 3)
    flat = noise.reshape(-1, 10, 2)
    shared = -(flat[first] + flat[second]).reshape(pairs.interactions.shape)
    noisy = Pairs(pairs.layers, pairs.widths, pairs.floating, noise, shared, pairs.variances)
    table = interactions.pair_table(noisy, list(range(10)))
    assert abs(interactions.saturation(table)["sum"]) < 0.35
    within = pd.Series.corr(
        table["one_select"] + table["other_select"], table["interaction_select"]
    )
    assert within == pytest.approx(-1)


def test_the_interval_of_a_mean_covers_it() -> None:
    """Halves whose errors are shared by all pairs: 95 % of intervals hold the truth."""
    generator = np.random.default_rng(6)
    held = 0
    pairs = simulated(6, 0.0, 0.0)
    weights = [0.25] * 4 + [0.0] * 6
    for _ in range(400):
        common = generator.normal(size=(10, 2))
        shifted = Pairs(
            pairs.layers, pairs.widths, pairs.floating, pairs.singles,
            np.broadcast_to(1.5 + common, pairs.interactions.shape), pairs.variances,
        )  # fmt: skip
        _, low, high = interactions.mean_interaction(shifted, weights)
        held += low < 1.5 < high
    assert 0.92 < held / 400 < 0.98


def test_the_model_of_a_half_predicts_what_that_half_measured() -> None:
    pairs = simulated(7, 1.0, 0.5)
    for half in (0, 1):
        model = pairs.model(half, 6)
        widths = np.full((2, 8), 6)
        widths[1, [2, 5]] = 4, 3
        free, pair = model.losses(widths)
        number = list(itertools.combinations(range(8), 2)).index((2, 5))
        assert (free == 0).all()
        np.testing.assert_allclose(
            pair,
            pairs.singles[2, 1, :, half]
            + pairs.singles[5, 2, :, half]
            + pairs.interactions[number, 1, 2, :, half],
        )


def test_shrinking_takes_out_noise_and_leaves_what_is_there() -> None:
    noise, truth = simulated(8, 0.0, 1.0, layers=16), simulated(8, 3.0, 0.0, layers=16)
    assert np.abs(noise.model(0, 6, shrunk=True).interactions).max() < 1.0
    assert np.abs(noise.model(0, 6).interactions).max() > 3.0
    kept = truth.model(0, 6, shrunk=True).interactions
    np.testing.assert_allclose(kept, truth.model(0, 6).interactions)
