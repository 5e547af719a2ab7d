"""The losses of long-tailed recognition, as one function of logits, labels and progress."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

DRW_START = 0.8  # fraction of training after which LDAM re-weights (160 of 200 epochs)
EFFECTIVE_BETA = 0.9999  # Cui et al. (2019)
LDAM_MARGIN, LDAM_SCALE = 0.5, 30.0  # Cao et al. (2019)

Loss = Callable[[Tensor, Tensor, float], Tensor]  # logits, labels, fraction of training done


def make_loss(name: str, counts: list[int], device: torch.device) -> Loss:
    """The loss called ``name`` for classes with ``counts`` training images.

    * ``ce``: cross-entropy.
    * ``class-weighted``: weights ``(1 - beta) / (1 - beta**n_c)``, mean 1 (Cui et al., 2019).
    * ``ldam-drw``: margins ``m_c ~ n_c**-0.25``, scale 30, re-weighted late (Cao et al., 2019).
    * ``balanced-softmax``: logits plus ``log n_c`` (Ren et al., 2020).
    * ``logit-adjusted``: logits plus ``log prior_c`` (Menon et al., 2021, eq. 10, tau 1).

    The last two have the same gradient: they differ by a constant added to every logit.
    """
    n = torch.tensor(counts, dtype=torch.float32, device=device)
    effective = (1 - EFFECTIVE_BETA) / (1 - EFFECTIVE_BETA**n)
    weights = effective / effective.mean()
    margins = LDAM_MARGIN * (n.min() / n) ** 0.25
    if name == "class-weighted":
        return lambda logits, y, _: F.cross_entropy(logits, y, weight=weights)
    if name == "balanced-softmax":
        return lambda logits, y, _: F.cross_entropy(logits + n.log(), y)
    if name == "logit-adjusted":
        return lambda logits, y, _: F.cross_entropy(logits + (n / n.sum()).log(), y)
    if name == "ldam-drw":

        def ldam(logits: Tensor, y: Tensor, done: float) -> Tensor:
            shifted = logits - F.one_hot(y, len(n)) * margins
            late = weights if done >= DRW_START else None
            return F.cross_entropy(LDAM_SCALE * shifted, y, weight=late)

        return ldam
    return lambda logits, y, _: F.cross_entropy(logits, y)


class CosineClassifier(nn.Linear):
    """Linear layer on unit features and unit weights, as LDAM needs (Cao et al., 2019)."""

    def forward(self, features: Tensor) -> Tensor:
        """(B, features) to cosines (B, classes)."""
        return F.linear(F.normalize(features), F.normalize(self.weight))


def as_linear(cosine: CosineClassifier) -> nn.Linear:
    """The plain linear layer with the same argmax: unit weight rows, no bias."""
    linear = nn.Linear(cosine.in_features, cosine.out_features)
    linear.weight = nn.Parameter(F.normalize(cosine.weight.detach()))
    linear.bias = nn.Parameter(torch.zeros(cosine.out_features, device=cosine.weight.device))
    return linear
