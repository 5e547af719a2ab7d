"""Layer sensitivity: quantize one layer at a time, at several widths, and keep every outcome.

:mod:`walk` takes a batch through the network with all layers and widths, :mod:`sweep` does so in
float32, or in bfloat16 with the close cases settled in float32, and :mod:`racing` stops early.
:mod:`configurations` predicts with any number of whole bit configurations.
"""

from ltqlib.first.sensitivity.configurations import Configurations
from ltqlib.first.sensitivity.precision import PRECISIONS
from ltqlib.first.sensitivity.racing import Verdict, race
from ltqlib.first.sensitivity.sweep import Sweep, one_layer_at_a_time

__all__ = ["PRECISIONS", "Configurations", "Sweep", "Verdict", "one_layer_at_a_time", "race"]
