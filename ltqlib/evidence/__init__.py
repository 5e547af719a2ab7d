"""The evidence: what was computed, kept where it is found again, with where it came from."""

from ltqlib.evidence.remember import remember, remember_rows

__all__ = ["remember", "remember_rows"]
