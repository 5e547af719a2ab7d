"""From simulation to a device: packed files, ONNX, runtimes, measured time."""

from ltqlib.deploy.packing import load_packed, save_packed
from ltqlib.deploy.parts import fold_offsets

__all__ = ["fold_offsets", "load_packed", "save_packed"]
