"""Stage 2 of decoupled training: a new classifier on the frozen backbone (Kang et al., 2020)."""

import copy
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ltqlib.config import RunConfig
from ltqlib.data import LongTail
from ltqlib.models import Head, Network
from ltqlib.training import convolutions
from ltqlib.training.heads import nearest_class_mean, rounded
from ltqlib.training.holdout import Part, training_part
from ltqlib.training.loop import Recipe, fit
from ltqlib.training.losses import label_aware_smoothing
from ltqlib.training.samplers import make_batches

STAGE2_SEED = 1_000  # added to the seed of the run, so that stage 2 draws other batches


def decouple_network(
    config: RunConfig, data: LongTail, network: Network, device: torch.device
) -> dict[str, Head]:
    """The classifiers of stage 2 on the backbone of ``network``, which is left as it is.

    * ``crt``: a new linear layer, learned from scratch with class-balanced sampling (Kang et al.,
      2020, section 4.1, "classifier re-training").
    * ``lws``: the old one with a learned scale a class, ``f_c w_c`` (section 4.4).
    * ``ncm``: nearest class mean (section 4.2).

    Two parts of MiSLAS (Zhong et al., CVPR 2021) can be had for ``crt`` and ``lws``:

    * label-aware smoothing (``stage2_smooth_head``, ``stage2_smooth_tail``; section 3.3);
    * shifted BatchNorm (``stage2_norm = "shifted"``; section 3.4): the running statistics move
      along with the class-balanced images. Then these heads hold the new statistics as well, by
      their names in the network's state.

    Returns:
        heads by method: ``weight`` (classes, features), ``bias`` (classes,), float32 at float16
        precision.
    """
    part = training_part(data, config.holdout)
    network = copy.deepcopy(network).to(device).eval()  # its statistics may move
    ncm = nearest_class_mean(network, part.images, part.labels)
    return {**_retrain(config, part, network, device), "ncm": ncm}


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


def _retrain(
    config: RunConfig, part: Part, network: Network, device: torch.device
) -> dict[str, Head]:
    """``crt`` and ``lws``; of ``network`` the statistics of its BatchNorms may change."""
    seed = config.seed + STAGE2_SEED
    heads = TwoHeads(network, seed)
    network.train(config.stage2_norm == "shifted")
    with convolutions.fast(network, device):
        fit(
            heads,
            list(heads.parameters()),
            make_batches(config, part.images, part.labels, "class", seed, device),
            _loss(config, part, device),
            Recipe(
                epochs=max(1, round(config.stage2_images / len(part.labels))),
                lr=config.stage2_lr,
                momentum=config.momentum,
                weight_decay=config.weight_decay,
            ),
            progress=f"stage 2 {config.label()}",
        )
    old = network.classifier
    moved = _statistics(network) if network.training else {}
    found = {
        "crt": (heads.weight, heads.bias),
        "lws": (old.weight * heads.scale[:, None], old.bias * heads.scale),
    }
    return {name: {**rounded(*pair), **moved} for name, pair in found.items()}


def _loss(
    config: RunConfig, part: Part, device: torch.device
) -> Callable[[Tensor, Any, float], Tensor]:
    """The sum of both heads' cross-entropies, of smoothed labels where the configuration says."""
    head, tail = config.stage2_smooth_head, config.stage2_smooth_tail
    one: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy
    if head or tail:
        one = label_aware_smoothing(part.counts, head, tail, device)
    return lambda logits, y, _: one(logits[0], y) + one(logits[1], y)


def _statistics(network: Network) -> dict[str, Tensor]:
    """BatchNorm's running means and variances by their names in the network's state."""
    return {
        f"{path}.{name}": buffer.half().float()
        for path, norm in network.named_modules()
        if isinstance(norm, _BatchNorm)
        for name, buffer in norm.named_buffers()
        if buffer.is_floating_point()
    }
