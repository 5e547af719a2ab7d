"""Classifiers as pairs of a weight and a bias, and those that need no training."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ltqlib.data import Images, Labels
from ltqlib.data.batches import in_order
from ltqlib.models import Head, Network


def head_of(network: Network) -> Head:
    """The classifier of ``network``: weight (classes, features) and bias (classes,), detached."""
    classifier = network.classifier
    return {"weight": classifier.weight.detach(), "bias": classifier.bias.detach()}


def logit_adjusted(head: Head, counts: Sequence[int], tau: float = 1.0) -> Head:
    """``b_c - tau * log prior_c``, with ``prior_c`` the share of class c in training.

    Post-hoc logit adjustment (Menon et al., 2021, eq. 9). The classes may have any counts above
    zero, in the order of the labels.
    """
    n = torch.as_tensor(counts, dtype=torch.float32, device=head["bias"].device)
    return {**head, "bias": head["bias"] - tau * (n / n.sum()).log()}


def tau_normalized(head: Head, tau: float) -> Head:
    """``w_c / |w_c|**tau`` without bias; tau 0 is the old layer less its bias.

    Kang et al. (2020), section 4.3.
    """
    norms = head["weight"].norm(dim=1, keepdim=True).clamp(min=1e-12)
    return {**head, **rounded(head["weight"] / norms**tau, torch.zeros_like(head["bias"]))}


def nearest_class_mean(network: Network, images: Images, labels: Labels) -> Head:
    """Cosine similarity to the mean feature of each class, as a linear layer.

    ``argmax_c mu_c . f / |mu_c|``: the norm of f does not change the argmax (Kang et al., 2020,
    section 4.2). Images are uint8 (N, H, W, 3).
    """
    device = network.classifier.weight.device
    features = extract_features(network, images)
    truth = torch.from_numpy(labels).to(device)
    means = [features[truth == c].mean(0) for c in range(network.classifier.out_features)]
    weight = F.normalize(torch.stack(means))
    return rounded(weight, torch.zeros(len(weight), device=device))


@torch.inference_mode()
def extract_features(network: Network, images: Images, batch: int = 500) -> Tensor:
    """Features (N, F) of uint8 images (N, H, W, 3), on the network's device."""
    device = network.classifier.weight.device
    return torch.cat([network.features(pixels) for pixels in in_order(images, batch, device)])


def rounded(weight: Tensor, bias: Tensor) -> Head:
    """A head at float16 precision, detached: what is stored is what is evaluated."""
    return {"weight": weight.detach().half().float(), "bias": bias.detach().half().float()}
