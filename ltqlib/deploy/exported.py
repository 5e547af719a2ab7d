"""The recommended model as files, and whether they predict what the audit says."""

from pathlib import Path
from typing import Any

import numpy as np

from ltqlib.deploy.bench import Bench, Configuration
from ltqlib.errors import InputError

CHECKED = 500  # test images that the exported model is run on


def export(bench: Bench, one: Configuration, repaired: bool, folder: Path) -> dict[str, Any]:
    """``model.safetensors`` (packed) and ``model.onnx``; what cannot be written is told.

    Returns:
        ``packed`` and ``onnx``: file names, or None; ``bytes`` of the packed file; ``agree``: share
        of test images that ONNX Runtime calls as the audit does; ``problem``: one line, or empty.
    """
    from ltqlib.deploy.packing import save_packed
    from ltqlib.deploy.parts import fold_offsets

    told: dict[str, Any] = {"packed": None, "onnx": None, "agree": None, "problem": ""}
    quantized = bench.quantized(one)
    try:
        if repaired:
            quantized = fold_offsets(quantized, bench.facts(one)["offsets"])
        told["bytes"] = save_packed(quantized, folder / "model.safetensors")
        told["packed"] = "model.safetensors"
        from ltqlib.deploy.onnx import export_onnx

        export_onnx(quantized, folder / "model.onnx")
        told["onnx"] = "model.onnx"
        told["agree"] = _agreement(bench, one, repaired, folder / "model.onnx")
    except (InputError, ImportError) as error:  # onnx may not be installed
        told["problem"] = str(error)
    return told


def _agreement(bench: Bench, one: Configuration, repaired: bool, path: Path) -> float:
    """On evenly spaced test images, so that every class is among them."""
    from ltqlib.deploy.runtimes import run_onnx

    test = bench.subject.test
    at = np.unique(np.linspace(0, len(test) - 1, CHECKED).astype(int))
    expected = bench.outcomes(one, test)["matched" if repaired else "predicted"][at]
    logits = run_onnx(path, test.images[at])
    return float((np.asarray(logits).argmax(1) == expected).mean())
