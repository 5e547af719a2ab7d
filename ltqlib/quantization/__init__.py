"""Uniform quantization: grids, calibration, and post-training quantization of a network."""

from ltqlib.quantization.grids import QParams, choose_qparams, dequantize, fake_quantize, quantize
from ltqlib.quantization.ptq import SCHEMES, Bits, Calibration, Scheme, calibrate, quantize_network

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
