"""From simulation to a device: packed files, ONNX, runtimes, measured time.

Names are imported when one of them is used: torch takes seconds.
"""

import importlib
from typing import Any

_PUBLIC = {
    "Exported": "onnx",
    "agreement": "runtimes",
    "context_latency": "layer_timing",
    "export_onnx": "onnx",
    "fold_offsets": "parts",
    "integer_biases": "parts",
    "latency": "timing",
    "layer_costs": "layer_timing",
    "layer_latency": "layer_timing",
    "load_packed": "packing",
    "predict_latency": "layer_timing",
    "run_onnx": "runtimes",
    "save_packed": "packing",
}
__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"ltqlib.deploy has no {name!r}: it offers {', '.join(_PUBLIC)}")
    return getattr(importlib.import_module(f"ltqlib.deploy.{_PUBLIC[name]}"), name)
