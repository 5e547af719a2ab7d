"""What is read off a training on its way, and that reading changes nothing."""

import numpy as np
import pytest
import torch
from scipy import stats

from ltqlib.config import from_profile
from ltqlib.data import Batches
from ltqlib.training import Follow, train_network, training_part
from ltqlib.training import state as state_room
from ltqlib.training.following import folded_weights, quantities

CPU = torch.device("cpu")
CONFIG = from_profile(
    "smoke", imbalance_factor=0.1, width=1 / 32, epochs=4, schedule="constant", warmup=0.01
)


@pytest.fixture(scope="module")
def followed(digits):
    """(snapshots, network, result) of a training of four passes, looked at after 1, 3 and 4."""
    snapshots = []
    follow = Follow((1, 3, 4, 99), snapshots.append)
    network, result = train_network(CONFIG, digits, CPU, follow=follow)
    return snapshots, network, result


def test_following_changes_nothing(followed, digits):
    plain, result = train_network(CONFIG, digits, CPU)
    for name, value in plain.state_dict().items():
        assert torch.equal(value, followed[1].state_dict()[name]), name
    losses = [[row["loss"] for row in each["history"]] for each in (result, followed[2])]
    assert losses[0] == losses[1]


def test_snapshots_come_at_the_passes_asked_for(followed):
    snapshots, _, result = followed
    assert [snapshot.passes for snapshot in snapshots] == [1, 3, 4]
    rows = {row["epoch"]: row for row in result["history"]}
    for snapshot in snapshots:
        assert rows[snapshot.passes]["followed"] == snapshot.quantities
        assert snapshot.average is None
    assert "followed" not in rows[2]


def test_with_a_constant_rate_a_snapshot_is_a_training_of_that_length(followed, digits):
    """One run gives every length: warm-up of one step, then the same rate."""
    short = from_profile(
        "smoke", imbalance_factor=0.1, width=1 / 32, epochs=3, schedule="constant", warmup=0.01
    )
    network, _ = train_network(short, digits, CPU)
    snapshot = followed[0][1].network
    for name, value in network.state_dict().items():
        assert torch.equal(value, snapshot.state_dict()[name]), name
    assert not snapshot.training


def test_weights_are_described_as_scipy_and_numpy_do(smoke_network, balanced):
    found = quantities(smoke_network, training_part(balanced, 0.0), balanced.groups)
    assert list(found["layers"]) == [f"L{number}" for number in range(1, 17)]
    for name, weight in folded_weights(smoke_network).items():
        values, told = weight.flatten().numpy(), found["layers"][name]
        assert told["minimum"] == pytest.approx(values.min(), rel=1e-5)
        assert told["maximum"] == pytest.approx(values.max(), rel=1e-5)
        assert told["std"] == pytest.approx(values.std(), rel=1e-5)
        assert told["max_over_std"] == pytest.approx(np.abs(values).max() / values.std(), rel=1e-5)
        assert told["kurtosis"] == pytest.approx(stats.kurtosis(values, fisher=False), rel=1e-5)
    norms = np.linalg.norm(smoke_network.classifier.weight.detach().numpy(), axis=1)
    np.testing.assert_allclose(list(found["row_norms"].values()), norms, atol=1e-4)


def test_margins_and_losses_of_groups_by_hand(smoke_network, digits):
    found = quantities(smoke_network, training_part(digits, 0.0), digits.groups)["images"]
    with torch.no_grad():
        pixels = torch.from_numpy(digits.images).permute(0, 3, 1, 2)
        logits = smoke_network(pixels).double().numpy()
    assert set(found) == {"head", "tail"}
    for group, classes in digits.groups.items():
        mine = np.isin(digits.labels, classes)
        rows, labels = logits[mine], digits.labels[mine]
        own = rows[np.arange(len(rows)), labels]
        rest = np.where(np.eye(10, dtype=bool)[labels], -np.inf, rows).max(1)
        probability = np.exp(own) / np.exp(rows).sum(1)
        told = found[group]
        assert told["margin"] == pytest.approx((own - rest).mean(), abs=1e-3)
        assert told["margin_low"] == pytest.approx(np.quantile(own - rest, 0.1), abs=1e-3)
        assert told["loss"] == pytest.approx(-np.log(probability).mean(), abs=1e-3)
        assert told["accuracy"] == pytest.approx(100 * (own > rest).mean(), abs=1e-3)


def test_folded_weights_are_those_of_the_graph(smoke_network):
    from ltqlib.models import graph_of

    graph = graph_of(smoke_network)
    for name, weight in folded_weights(smoke_network).items():
        torch.testing.assert_close(weight.float(), graph.weight(name), rtol=1e-5, atol=1e-7)


def test_an_interrupted_training_hands_out_every_snapshot(digits, tmp_path, monkeypatch):
    whole, seen = Batches.epoch, []

    def power_cut(self, epoch):
        if epoch == 3:
            raise RuntimeError("power cut")
        return whole(self, epoch)

    follow = Follow((1, 3, 4), lambda snapshot: seen.append(snapshot.passes))
    state = tmp_path / "state.safetensors"
    monkeypatch.setattr(state_room, "EVERY", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(Batches, "epoch", power_cut)
        with pytest.raises(RuntimeError, match="power cut"):
            train_network(CONFIG, digits, CPU, state, follow=follow)
    _, result = train_network(CONFIG, digits, CPU, state, follow=follow)
    assert seen == [1, 3, 4]
    assert [row["epoch"] for row in result["history"] if "followed" in row] == [1, 3, 4]
