"""LTQ-Bench: thousands of bit configurations with what they cost every class, and what predicts it.

:mod:`configurations` draws them; the step ``bench`` evaluates them once. No torch here.
"""

from ltqlib.bench.configurations import FAMILIES, Configurations, Plan, draw

__all__ = ["FAMILIES", "Configurations", "Plan", "draw"]
