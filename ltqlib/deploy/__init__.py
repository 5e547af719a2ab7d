"""From simulation to a device: packed files, ONNX, runtimes, measured time."""

from ltqlib.deploy.onnx import Exported, export_onnx
from ltqlib.deploy.packing import load_packed, save_packed
from ltqlib.deploy.parts import fold_offsets, integer_biases
from ltqlib.deploy.runtimes import agreement, run_onnx

__all__ = [
    "Exported",
    "agreement",
    "export_onnx",
    "fold_offsets",
    "integer_biases",
    "load_packed",
    "run_onnx",
    "save_packed",
]
