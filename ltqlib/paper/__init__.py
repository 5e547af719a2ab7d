"""What only the book needs: numbers in its prose, figures, claims."""

from ltqlib.paper import plots
from ltqlib.paper.claims import verdicts
from ltqlib.paper.numbers import numbers
from ltqlib.paper.reported import measured, reported

__all__ = ["measured", "numbers", "plots", "reported", "verdicts"]
