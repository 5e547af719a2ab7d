"""Interactions of layers: the order of models, the record, the statistics, the quadratic model."""

import itertools

import numpy as np
import numpy.typing as npt
import pytest
import torch

from ltqlib import data, interactions, longtail
from ltqlib.config import from_profile
from ltqlib.errors import InputError
from ltqlib.interactions import Pairs
from ltqlib.models import Network, predict_logits, quantizable_layers
from ltqlib.quantization import SCHEMES, Bits, quantize_network
from ltqlib.records import pack
from ltqlib.steps import pairing


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
