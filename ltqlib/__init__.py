"""ltqlib: does quantization sacrifice the rare classes, and can bit-widths give them back?"""

__version__ = "0.2.0.dev0"
