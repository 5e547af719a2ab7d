"""ltqlib: does quantization sacrifice the rare classes, and can bit-widths give them back?

``import ltqlib as ltq`` offers the names below and imports nothing until one of them is used;
torch is imported only where something has to be computed. Rooms, each of which imports from those
above it alone (tests/test_architecture.py holds them to it)::

    errors paths files progress config
    evidence
    data
    statistics
    models
    training
    quantization
    engine
    importance
    allocation
    bench
    experiment
    paper
    deploy
    cli
"""

import importlib
from typing import Any

__version__ = "0.2.0.dev0"

# name -> the room that has it
_PUBLIC = {
    "InputError": "errors",
    "load_data": "data",
    "LongTail": "data",
    "Split": "data",
    "train": "experiment",
    "decouple": "experiment",
    "Networks": "experiment",
    "quantize": "quantization",
    "evaluate": "experiment",
    "sensitivity": "experiment",
    "logits": "experiment",
    "allocate": "allocation",
    "random_widths": "allocation",
    "estimate": "statistics",
    "head_tail_curve": "statistics",
    "at_equal_head": "statistics",
    "tail_at_equal_head": "statistics",
    "lost_at_equal_head": "statistics.losses",
    "at_best": "statistics",
    "curve_summary": "statistics",
    "match_shares": "statistics",
    "repair": "statistics.repaired",
    "audit": "deploy.audit",
}
__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"ltqlib has no {name!r}: it offers {', '.join(_PUBLIC)}")
    return getattr(importlib.import_module(f"ltqlib.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_PUBLIC)
