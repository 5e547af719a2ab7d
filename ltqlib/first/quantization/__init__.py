"""Uniform quantization: grids, calibration, and post-training quantization of a network."""

from ltqlib.first.quantization.grids import (
    QParams,
    choose_qparams,
    dequantize,
    fake_quantize,
    quantize,
)
from ltqlib.first.quantization.ptq import (
    SCHEMES,
    Bits,
    Calibration,
    Scheme,
    calibrate,
    quantize_network,
)

__all__ = [
    "SCHEMES",
    "Bits",
    "Calibration",
    "QParams",
    "Scheme",
    "calibrate",
    "choose_qparams",
    "dequantize",
    "fake_quantize",
    "quantize",
    "quantize_network",
]
