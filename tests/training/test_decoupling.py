"""Stage 2: the backbone stays, and each method is what its equation says."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ltqlib.config import from_profile
from ltqlib.training import decouple_network, extract_features, nearest_class_mean
from ltqlib.training.decoupling import TwoHeads

CPU = torch.device("cpu")
CONFIG = from_profile("smoke", imbalance_factor=0.1, stage2_images=500)


@pytest.fixture(scope="module")
def heads(digits, smoke_network):
    return decouple_network(CONFIG, digits, smoke_network, CPU)


def test_the_network_is_left_alone_and_three_heads_are_found(digits, smoke_network):
    before = {name: value.clone() for name, value in smoke_network.state_dict().items()}
    shifted = from_profile("smoke", imbalance_factor=0.1, stage2_images=500, stage2_norm="shifted")
    for config in (CONFIG, shifted):
        found = decouple_network(config, digits, smoke_network, CPU)
        after = smoke_network.state_dict()
        assert all(torch.equal(before[name], after[name]) for name in before)
        assert set(found) == {"crt", "lws", "ncm"}
    assert not smoke_network.training


def test_lws_is_one_scale_a_class(heads, smoke_network):
    ratio = heads["lws"]["weight"] / smoke_network.classifier.weight.detach()
    spread = ratio.amax(1) - ratio.amin(1)  # up to float16 rounding
    assert float(spread.median()) < 1e-2


def test_crt_does_not_depend_on_lws(balanced, smoke_network):
    """Training both heads in one pass gives each the gradient it has alone."""
    heads = TwoHeads(smoke_network, seed=3)
    pixels = torch.from_numpy(balanced.images[:32]).permute(0, 3, 1, 2)
    labels = torch.from_numpy(balanced.labels[:32])
    crt, lws = heads(pixels)
    (F.cross_entropy(crt, labels) + F.cross_entropy(lws, labels)).backward()
    assert heads.weight.grad is not None
    together = heads.weight.grad.clone()
    heads.zero_grad()
    F.cross_entropy(heads(pixels)[0], labels).backward()
    torch.testing.assert_close(heads.weight.grad, together)


def test_nearest_class_mean_is_cosine_similarity_to_the_means(balanced, smoke_network):
    images, labels = balanced.images, balanced.labels
    head = nearest_class_mean(smoke_network, images, labels)
    features = extract_features(smoke_network, images).numpy()
    means = np.stack([features[labels == label].mean(0) for label in range(10)])
    cosine = features @ means.T / np.linalg.norm(features, axis=1)[:, None]
    cosine /= np.linalg.norm(means, axis=1)
    found = (features @ head["weight"].numpy().T).argmax(1)
    assert (found == cosine.argmax(1)).mean() > 0.995  # ties after float16 rounding


def test_label_aware_smoothing_lowers_the_confidence_in_frequent_classes(
    digits, smoke_network, heads
):
    config = from_profile("smoke", imbalance_factor=0.1, stage2_images=500, stage2_smooth_head=0.4)
    smooth = decouple_network(config, digits, smoke_network, CPU)
    features = extract_features(smoke_network, digits.images)
    labels = torch.from_numpy(digits.labels)

    def confidence(head, label):
        logits = F.linear(features[labels == label], head["weight"], head["bias"])
        return float(logits.softmax(1)[:, label].mean())

    drops = [confidence(heads["crt"], c) - confidence(smooth["crt"], c) for c in (0, 9)]
    assert drops[0] > 0.02
    assert drops[0] > drops[1]
    assert torch.equal(smooth["ncm"]["weight"], heads["ncm"]["weight"])


def test_shifted_statistics_are_those_of_class_balanced_images(digits, smoke_network):
    """After many steps the first layer's mean is that of its output on balanced batches."""
    config = from_profile("smoke", imbalance_factor=0.1, stage2_norm="shifted")
    found = decouple_network(config, digits, smoke_network, CPU)
    assert set(found["ncm"]) == {"weight", "bias"}
    name = "backbone.L1.norm.running_mean"
    assert torch.equal(found["crt"][name], found["lws"][name])
    state = smoke_network.state_dict()
    extra = {key for key in found["crt"] if key not in ("weight", "bias")}
    assert extra == {key for key in state if "running" in key}
    assert all(found["crt"][key].shape == state[key].shape for key in extra)
    pixels = torch.from_numpy(digits.images).permute(0, 3, 1, 2)
    with torch.no_grad():
        maps = smoke_network.backbone.L1.layer(smoke_network.normalize(pixels)).mean((2, 3))
    labels = torch.from_numpy(digits.labels)
    even = torch.stack([maps[labels == c].mean(0) for c in range(10)]).mean(0)
    scale = state["backbone.L1.norm.running_var"].sqrt()
    assert float(((found["crt"][name] - even) / scale).abs().max()) < 0.1
