"""From simulation to a device: packed files, ONNX, runtimes, measured time."""

from ltqlib.deploy.onnx import Exported, export_onnx
from ltqlib.deploy.packing import load_packed, save_packed
from ltqlib.deploy.parts import fold_offsets

__all__ = ["Exported", "export_onnx", "fold_offsets", "load_packed", "save_packed"]
