"""Uniform quantization: grids, ranges, methods, and the quantized model."""

from ltqlib.quantization.grids import QParams, choose_qparams, dequantize, fake_quantize
from ltqlib.quantization.methods import LocalMethod, Method, get, names, register
from ltqlib.quantization.ptq import quantize, variants
from ltqlib.quantization.quantized import Quantized
from ltqlib.quantization.types import BitConfig, Bits, QTensor, Variant, widths_of

__all__ = [
    "BitConfig",
    "Bits",
    "LocalMethod",
    "Method",
    "QParams",
    "QTensor",
    "Quantized",
    "Variant",
    "choose_qparams",
    "dequantize",
    "fake_quantize",
    "get",
    "names",
    "quantize",
    "register",
    "variants",
    "widths_of",
]
