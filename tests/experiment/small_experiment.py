"""One small experiment on the digits."""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import ltqlib as ltq

WIDTHS = [32, 8, 4]  # at which both classifiers are evaluated
RECIPE = {"profile": "smoke", "train_images": 6_400, "stage2_images": 640}


class Experiment(NamedTuple):
    """A home with two trained networks, and the calls that made them."""

    home: Path
    data: ltq.LongTail
    baseline: ltq.Networks
    crt: ltq.Networks

    @property
    def first(self) -> ltq.Networks:
        """Of the networks with cRT the one with the first seed."""
        return dataclasses.replace(self.crt, configs=self.crt.configs[:1])
