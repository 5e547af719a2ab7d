"""ltqlib: does quantization sacrifice the rare classes, and can bit-widths give them back?

The package is thin and lazy: ``import ltqlib`` imports neither torch nor pandas. Modules import
from those above them in this list (tests/test_architecture.py holds them to it)::

    errors paths files progress config
    longtail data models winograd convolutions losses mixup train decouple
    metrics crossed identity quantization sensitivity importance mpq
    records layerwise interactions bench provenance steps experiment publish
    evidence tables variants comparison agreement claims front style plots diagrams
    cli
"""

__version__ = "0.1.0"
