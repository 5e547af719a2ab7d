"""How bfloat16 predicts as float32 does: cases that are close against its error are settled."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ltqlib.errors import InputError
from ltqlib.training.devices import has_bf16_units

PRECISIONS = ("float32", "bfloat16", "auto")
PILOT = 64  # images on which the error of bfloat16 is measured
# A prediction is settled in float32 if its margin is below so many times that error. The error is
# close to normal with a slightly heavier tail (99.9 % of it below 3.3 to 5 times its rms, by width
# and network); a prediction changes only where it exceeds the margin. At 4 one of 12,000 small
# digit cases slipped through, at 2 bits; at 5 one of 400,000 of a VGG16's on CIFAR-10 (by 5.6 times
# the error), which is why nothing here is called exact.
CLOSE = 5.0
# Above this share of close cases on the pilot images, float32 alone is the shorter way.
MOSTLY = 0.3


def find_precision(precision: str, device: torch.device) -> str:
    """``float32`` or ``bfloat16``: ``auto`` is bfloat16 where the chip has units for it."""
    if precision not in PRECISIONS:
        raise InputError(f"precision {precision!r} is unknown: use one of {', '.join(PRECISIONS)}")
    if precision == "auto":
        return "bfloat16" if has_bf16_units(device) else "float32"
    return precision


def pilot(count: int) -> npt.NDArray[np.int64]:
    """Positions of up to 64 of ``count`` images, spread: they may be in order of their classes."""
    return np.unique(np.linspace(0, count - 1, PILOT).astype(np.int64))


def margin_error(rounded: Tensor, exact: Tensor) -> npt.NDArray[np.float32]:
    """Error of bfloat16 in the margin between the two best classes.

    Args:
        rounded, exact: logits in bfloat16's and in float32's arithmetic, (..., N, classes).

    Returns:
        Root mean square over the images, (...), in units of the logits.
    """
    two = rounded.topk(min(2, rounded.shape[-1])).indices
    errors = (rounded - exact).gather(-1, two).diff().sum(-1)
    return np.asarray(errors.square().mean(-1).sqrt().cpu().numpy(), dtype=np.float32)
