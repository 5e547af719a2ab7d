"""From simulation to a device: packed files, ONNX, runtimes, measured time."""

from ltqlib.deploy.latency import latency, layer_costs, layer_latency, predict_latency
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
    "latency",
    "layer_costs",
    "layer_latency",
    "load_packed",
    "predict_latency",
    "run_onnx",
    "save_packed",
]
