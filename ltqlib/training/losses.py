"""The losses of long-tailed recognition, as one function of logits, labels and progress."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ltqlib.errors import InputError

DEFERRED_START = 0.8  # share of the steps after which classes are re-weighted or re-sampled
EFFECTIVE_BETA = 0.9999  # Cui et al. (2019)
LDAM_MARGIN, LDAM_SCALE = 0.5, 30.0  # Cao et al. (2019)

Loss = Callable[[Tensor, Tensor, float], Tensor]  # logits, labels, share of the steps done


def make_loss(
    name: str,
    counts: Sequence[int],
    device: torch.device,
    *,
    deferred: str = "none",
    smoothing: float = 0.0,
) -> Loss:
    """The loss called ``name`` for classes with ``counts`` training images.

    * ``ce``: cross-entropy.
    * ``class-weighted``: weights ``(1 - beta) / (1 - beta**n_c)``, mean 1 (Cui et al., 2019).
    * ``ldam-drw``: margins ``m_c ~ n_c**-0.25``, scale 30, re-weighted late (Cao et al., 2019).
    * ``balanced-softmax``: logits plus ``log n_c`` (Ren et al., 2020).
    * ``logit-adjusted``: logits plus ``log prior_c`` (Menon et al., 2021, eq. 10, tau 1).

    The last two have the same gradient: they differ by a constant added to every logit.

    Args:
        deferred: with ``reweight``, the weights of ``class-weighted`` from 80 % of the steps on
            (deferred re-weighting, DRW; Cao et al., 2019, algorithm 1).
        smoothing: share of a label that is spread evenly over all classes (Szegedy et al., 2016).
    """
    n = torch.tensor(counts, dtype=torch.float32, device=device)
    always, late = class_weights(n), name == "ldam-drw" or deferred == "reweight"
    if deferred == "reweight" and name in ("class-weighted", "ldam-drw"):
        raise InputError(f"loss {name!r} has class weights already: use deferred none with it")
    shift = {"balanced-softmax": n.log(), "logit-adjusted": (n / n.sum()).log()}.get(name)
    margins = LDAM_MARGIN * (n.min() / n) ** 0.25

    def loss(logits: Tensor, y: Tensor, done: float) -> Tensor:
        weighted = name == "class-weighted" or (late and done >= DEFERRED_START)
        if shift is not None:
            logits = logits + shift
        if name == "ldam-drw":
            logits = LDAM_SCALE * (logits - F.one_hot(y, len(n)) * margins)
        weight = always if weighted else None
        return F.cross_entropy(logits, y, weight=weight, label_smoothing=smoothing)

    return loss


def class_weights(counts: Tensor) -> Tensor:
    """Inverse effective numbers of images, ``(1 - beta) / (1 - beta**n_c)``, scaled to mean 1.

    Cui et al. (2019), eq. 2, with beta 0.9999.
    """
    effective = (1 - EFFECTIVE_BETA) / (1 - EFFECTIVE_BETA**counts)
    return effective / effective.mean()


def label_aware_smoothing(
    counts: Sequence[int], head: float, tail: float, device: torch.device
) -> Callable[[Tensor, Tensor], Tensor]:
    """Cross-entropy whose labels are smoothed the more, the more frequent their class is.

    MiSLAS (Zhong et al., CVPR 2021, section 3.3, the concave form):
    ``eps_c = tail + (head - tail) * sin(pi/2 * (n_c - n_min) / (n_max - n_min))``. As in the
    authors' program the share ``eps_c`` is spread over all classes, that of the label included.
    Their values for CIFAR-10-LT are head 0.3 and tail 0 at imbalance factor 0.01.

    Returns:
        a function of logits (B, C) and labels (B,).
    """
    n = torch.tensor(counts, dtype=torch.float32, device=device)
    rank = (n - n.min()) / (n.max() - n.min()).clamp(min=1)
    share = tail + (head - tail) * torch.sin(torch.pi / 2 * rank)

    def loss(logits: Tensor, y: Tensor) -> Tensor:
        log_p = F.log_softmax(logits, dim=1)
        hard, even = -log_p.gather(1, y[:, None])[:, 0], -log_p.mean(1)
        return torch.lerp(hard, even, share[y]).mean()

    return loss


class CosineClassifier(nn.Linear):
    """Linear layer on unit features and unit weights, as LDAM needs (Cao et al., 2019)."""

    def forward(self, features: Tensor) -> Tensor:
        """(B, features) to cosines (B, classes)."""
        return F.linear(F.normalize(features), F.normalize(self.weight))


def as_linear(cosine: CosineClassifier) -> nn.Linear:
    """The plain linear layer with the same argmax: unit weight rows, no bias."""
    linear = nn.utils.skip_init(nn.Linear, cosine.in_features, cosine.out_features)
    linear.weight = nn.Parameter(F.normalize(cosine.weight.detach()))
    linear.bias = nn.Parameter(torch.zeros(cosine.out_features, device=cosine.weight.device))
    return linear
