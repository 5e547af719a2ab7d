"""ltqlib: does quantization sacrifice the rare classes, and can bit-widths give them back?

The package is thin and lazy: ``import ltqlib`` imports neither torch nor pandas. Modules import
only downwards, in this order::

    errors  paths  config  progress
    longtail  data  models  train
    metrics  quantization  sensitivity  mpq
    records  experiment  claims  plots  cli
"""

__version__ = "0.1.0"
