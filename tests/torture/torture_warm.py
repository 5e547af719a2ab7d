"""Imported once by the process that children are forked from: what is slow the first time."""

import h5netcdf  # noqa: F401
import torch

import ltqlib.cli
import ltqlib.evidence.inventory
import ltqlib.training.decoupling
import ltqlib.training.stage1  # noqa: F401
from ltqlib import models
from ltqlib.config import from_profile
from ltqlib.data import load_data
from ltqlib.experiment.networks import layer_costs
from ltqlib.quantization import methods  # noqa: F401

torch.set_num_threads(1)
assert load_data("digits").images is not None
# torch.export takes most of the time of a small training: what it finds is the same for all seeds
COSTS = layer_costs(models.build(from_profile("smoke", width=1 / 64), 10))
