"""Stage 2: the backbone stays, and each method is what its equation says."""

import numpy as np
import torch

from ltqlib.first import data, decouple
from ltqlib.first.config import from_profile
from ltqlib.first.models import Network


def test_retrain_leaves_the_network_alone_and_learns_two_heads(
    digits: data.Dataset, folded_network: Network
) -> None:
    before = {name: value.clone() for name, value in folded_network.state_dict().items()}
    config = from_profile("smoke", imbalance_factor=0.1, stage2_images=500)
    heads = decouple.retrain(config, digits, folded_network, torch.device("cpu"))
    after = folded_network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert set(heads) == {"crt", "lws"}
    ratio = heads["lws"]["weight"] / folded_network.classifier.weight
    spread = ratio.amax(1) - ratio.amin(1)  # LWS: one scale a class, up to float16 rounding
    assert float(spread.median()) < 1e-2


def test_crt_does_not_depend_on_lws(digits: data.Dataset, folded_network: Network) -> None:
    """Training both heads in one pass gives each the gradient it has alone."""
    heads = decouple.TwoHeads(folded_network, seed=3)
    pixels = torch.from_numpy(digits.train_images[:32]).permute(0, 3, 1, 2)
    labels = torch.from_numpy(digits.train_labels[:32])
    entropy = torch.nn.functional.cross_entropy
    crt, lws = heads(pixels)
    (entropy(crt, labels) + entropy(lws, labels)).backward()
    assert heads.weight.grad is not None
    together = heads.weight.grad.clone()
    heads.zero_grad()
    entropy(heads(pixels)[0], labels).backward()
    torch.testing.assert_close(heads.weight.grad, together)


def test_nearest_class_mean_is_cosine_similarity_to_the_means(
    digits: data.Dataset, folded_network: Network
) -> None:
    images, labels = digits.train_images, digits.train_labels
    head = decouple.nearest_class_mean(folded_network, images, labels)
    features = decouple.extract_features(folded_network, images).numpy()
    means = np.stack([features[labels == label].mean(0) for label in range(10)])
    cosine = features @ means.T / np.linalg.norm(features, axis=1)[:, None]
    cosine /= np.linalg.norm(means, axis=1)
    expected = cosine.argmax(1)
    found = (features @ head["weight"].numpy().T).argmax(1)
    assert (found == expected).mean() > 0.995  # ties after float16 rounding


def test_tau_one_makes_every_class_weight_a_unit_vector(folded_network: Network) -> None:
    norms = decouple.tau_normalized(folded_network, 1.0)["weight"].norm(dim=1)
    torch.testing.assert_close(norms, torch.ones(10), atol=2e-3, rtol=0)


def test_tau_zero_keeps_the_weights(folded_network: Network) -> None:
    head = decouple.tau_normalized(folded_network, 0.0)
    torch.testing.assert_close(
        head["weight"], folded_network.classifier.weight.half().float(), atol=1e-3, rtol=1e-3
    )


def test_with_head_changes_only_the_classifier(folded_network: Network) -> None:
    head = decouple.tau_normalized(folded_network, 1.0)
    changed = decouple.with_head(folded_network, head)
    torch.testing.assert_close(changed.classifier.weight, head["weight"])
    before, after = folded_network.backbone.state_dict(), changed.backbone.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
