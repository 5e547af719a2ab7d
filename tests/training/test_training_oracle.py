"""Both stages give what the first edition gives, bit for bit."""

import pytest
import torch

from ltqlib.config import from_profile
from ltqlib.data import load_data
from ltqlib.first import data as old_data
from ltqlib.first import decouple as old_stage2
from ltqlib.first import train as old_training
from ltqlib.first.config import from_profile as old_profile
from ltqlib.training import decouple_network, logit_adjusted, tau_normalized, train_network
from ltqlib.training.heads import head_of

CPU = torch.device("cpu")
CASES = {
    "as the profile says": {"imbalance_factor": 0.1, "train_images": 3000},
    "class order": {"imbalance_factor": 0.1, "class_order": (9, 8, 7, 6, 5, 4, 3, 2, 1, 0)},
    "mixup": {"imbalance_factor": 0.1, "mixup": 1.0},
    "ldam": {"imbalance_factor": 0.1, "loss": "ldam-drw", "schedule": "step"},
    "sampler": {"imbalance_factor": 0.1, "sampler": "square-root", "loss": "class-weighted"},
    "flip": {"imbalance_factor": 0.5, "augment": "crop-flip", "loss": "balanced-softmax"},
    "resnet": {"imbalance_factor": 0.1, "arch": "resnet32", "width": 0.25, "seed": 3},
}


@pytest.mark.parametrize("case", CASES)
def test_training_and_decoupling_equal_the_first_edition(case):
    changes = {"epochs": 5, "stage2_images": 1000, **CASES[case]}
    config, old_config = from_profile("smoke", **changes), old_profile("smoke", **changes)
    data = load_data("digits", config.imbalance_factor, config.class_order)
    dataset = old_data.load("digits")
    network, history = train_network(config, data, CPU, None)
    expected, old_history = old_training.train(old_config, dataset, CPU)
    assert config.digest() == old_config.digest()
    _assert_same(network.state_dict(), expected.state_dict())
    assert [r["loss"] for r in history["history"]] == [r["loss"] for r in old_history["history"]]
    heads = decouple_network(config, data, network, CPU)
    old_heads = old_stage2.retrain(old_config, dataset, expected, CPU)
    _, indices = dataset.long_tailed(config.imbalance_factor, config.class_order)
    old_heads["ncm"] = old_stage2.nearest_class_mean(
        expected, dataset.train_images[indices], dataset.train_labels[indices]
    )
    assert heads.keys() == old_heads.keys()
    for name in heads:
        _assert_same(heads[name], old_heads[name])
    _assert_same(tau_normalized(head_of(network), 0.7), old_stage2.tau_normalized(expected, 0.7))


def test_logit_adjustment_is_the_first_editions(balanced):
    config = from_profile("smoke", epochs=1, imbalance_factor=0.1)
    data = load_data("digits", 0.1)
    network, _ = train_network(config, data, CPU)
    features = torch.randn(50, network.classifier.in_features)
    prior = torch.tensor(data.counts) / sum(data.counts)
    old = network.classifier(features) - prior.log()
    head = logit_adjusted(head_of(network), data.counts)
    found = torch.nn.functional.linear(features, head["weight"], head["bias"])
    torch.testing.assert_close(found, old.detach())


def test_a_training_that_the_first_edition_began_goes_on(tmp_path, monkeypatch):
    changes = {"imbalance_factor": 0.1, "width": 1 / 32, "epochs": 3}
    path, dataset = tmp_path / "train-state.safetensors", old_data.load("digits")
    expected, _ = old_training.train(old_profile("smoke", **changes), dataset, CPU)
    whole = old_data.Batches.epoch

    def power_cut(self, epoch):
        if epoch == 2:
            raise RuntimeError("power cut")
        return whole(self, epoch)

    monkeypatch.setattr(old_data.Batches, "epoch", power_cut)
    with pytest.raises(RuntimeError, match="power cut"):
        old_training.train(old_profile("smoke", **changes), dataset, CPU, path)
    data = load_data("digits", 0.1)
    network, result = train_network(from_profile("smoke", **changes), data, CPU, path)
    _assert_same(network.state_dict(), expected.state_dict())
    assert len(result["history"]) == 3


def _assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name in found:
        assert torch.equal(found[name], expected[name]), name
