"""One small experiment on the digits."""

from pathlib import Path
from typing import NamedTuple

import ltqlib as ltq

RECIPE = {"profile": "smoke", "train_images": 6_400, "stage2_images": 640}


class Experiment(NamedTuple):
    """A home with two trained networks, and the calls that made them."""

    home: Path
    data: ltq.LongTail
    baseline: ltq.Networks
    crt: ltq.Networks
