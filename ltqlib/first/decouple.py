"""Stage 2 of decoupled training: a new classifier on the frozen backbone (Kang et al., 2020)."""

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ltqlib.first import convolutions
from ltqlib.first.config import RunConfig
from ltqlib.first.data import Dataset, Images, Labels, in_order
from ltqlib.first.models import Network
from ltqlib.first.train import fit, make_batches

TAUS = tuple(round(0.1 * step, 1) for step in range(21))  # swept 0 to 2, as in the paper
STAGE2_SEED = 1_000  # added to the seed of the run, so that stage 2 draws other batches

Head = dict[str, Tensor]  # weight (classes, features) and bias (classes,)


class TwoHeads(nn.Module):
    """cRT and LWS side by side on one frozen backbone.

    They share no parameter, so the gradient of the summed loss is that of each alone: one pass
    over the images trains both. Output (2, B, classes): cRT, LWS.
    """

    def __init__(self, network: Network, seed: int) -> None:
        super().__init__()
        self.frozen = [network]  # in a list: not a submodule, so never put into train mode
        old = network.classifier
        generator = torch.Generator().manual_seed(seed)
        fresh = torch.randn(old.weight.shape, generator=generator) * 0.01
        self.weight = nn.Parameter(fresh.to(old.weight.device))
        self.bias = nn.Parameter(torch.zeros_like(old.bias))
        self.scale = nn.Parameter(torch.ones_like(old.bias))

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels (B, 3, 32, 32) to logits (2, B, classes)."""
        with torch.no_grad():
            features = self.frozen[0].features(pixels)
            old = self.frozen[0].classifier(features)
        return torch.stack([F.linear(features, self.weight, self.bias), old * self.scale])


def retrain(
    config: RunConfig, dataset: Dataset, network: Network, device: torch.device
) -> dict[str, Head]:
    """The learned classifiers of stage 2, trained with class-balanced sampling.

    * ``crt``: a new linear layer, learned from scratch (section 4.1, "classifier re-training").
    * ``lws``: the old one with a learned scale a class, ``f_c w_c`` (section 4.4).
    """
    _, indices = dataset.long_tailed(config.imbalance_factor, config.class_order)
    images, labels = dataset.train_images[indices], dataset.train_labels[indices]
    seed = config.seed + STAGE2_SEED
    batches = make_batches(config, images, labels, "class", seed, device)
    heads = TwoHeads(network, seed)
    with convolutions.fast(network, device):
        fit(
            heads,
            list(heads.parameters()),
            batches,
            lambda logits, y, _: F.cross_entropy(logits[0], y) + F.cross_entropy(logits[1], y),
            epochs=max(1, round(config.stage2_images / len(labels))),
            lr=config.stage2_lr,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            warmup=0.0,
            resume=None,
            progress=f"stage 2 {config.label()}",
        )
    old = network.classifier
    found = {
        "crt": (heads.weight, heads.bias),
        "lws": (old.weight * heads.scale[:, None], old.bias * heads.scale),
    }
    return {name: _rounded(*pair) for name, pair in found.items()}


def nearest_class_mean(network: Network, images: Images, labels: Labels) -> Head:
    """Cosine similarity to the mean feature of each class, as a linear layer (section 4.2).

    ``argmax_c mu_c . f / |mu_c|``: the norm of f does not change the argmax.
    """
    device = network.classifier.weight.device
    features = extract_features(network, images)
    truth = torch.from_numpy(labels).to(device)
    means = [features[truth == c].mean(0) for c in range(network.classifier.out_features)]
    weight = F.normalize(torch.stack(means))
    return _rounded(weight, torch.zeros(len(weight), device=device))


def tau_normalized(network: Network, tau: float) -> Head:
    """``w_c / |w_c|**tau`` without bias; tau 0 is the old layer less its bias (section 4.3)."""
    weight = network.classifier.weight
    scaled = weight / weight.norm(dim=1, keepdim=True).clamp(min=1e-12) ** tau
    return _rounded(scaled, torch.zeros_like(network.classifier.bias))


@torch.inference_mode()
def extract_features(network: Network, images: Images, batch: int = 500) -> Tensor:
    """Features (N, F) of uint8 images (N, H, W, 3), on the network's device."""
    device = network.classifier.weight.device
    return torch.cat([network.features(pixels) for pixels in in_order(images, batch, device)])


def _rounded(weight: Tensor, bias: Tensor) -> Head:
    """A head at float16 precision, detached: what is stored is what is evaluated."""
    return {"weight": weight.detach().half().float(), "bias": bias.detach().half().float()}


def with_head(network: Network, head: Head) -> Network:
    """A copy of ``network`` whose classifier has the weights of ``head``."""
    changed = copy.deepcopy(network)
    changed.classifier.weight.data.copy_(head["weight"])
    changed.classifier.bias.data.copy_(head["bias"])
    return changed


def load_heads(tensors: dict[str, Any]) -> dict[str, Head]:
    """Heads from flat tensors named ``method.weight`` and ``method.bias``."""
    names = sorted({key.split(".")[0] for key in tensors})
    return {n: {part: tensors[f"{n}.{part}"].float() for part in ("weight", "bias")} for n in names}
