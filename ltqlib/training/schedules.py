"""The learning rate of every step."""

import math


def learning_rate(
    step: int, steps: int, peak: float, warmup: float, schedule: str = "cosine"
) -> float:
    """Linear warm-up to ``peak`` over the share ``warmup`` of the steps, then the schedule.

    * ``cosine``: half a cosine down to zero at the last step (Loshchilov and Hutter, 2017).
    * ``step``: ``peak``, x 0.01 from 80 % of the steps on and x 0.0001 from 90 % (LDAM-DRW's
      epochs 160 and 180 of 200; Cao et al., 2019).
    * ``constant``: ``peak`` to the end, so that the weights after any pass are those of a training
      of that length; the control for what the decay of the learning rate does.
    """
    rising = max(1, round(warmup * steps))
    if step < rising:
        return peak * (step + 1) / rising
    if schedule == "constant":
        return peak
    if schedule == "step":
        return peak * (1e-4 if step >= 0.9 * steps else 1e-2 if step >= 0.8 * steps else 1)
    return peak * 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))
