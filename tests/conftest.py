"""Fixtures that every test shares: the same examples everywhere, one thread, an empty home."""

from pathlib import Path

import pytest
from hypothesis import settings

# The same examples on every machine, and no deadline: a busy machine is not a failure.
settings.register_profile("ltqlib", derandomize=True, deadline=None)
settings.load_profile("ltqlib")


@pytest.fixture(scope="session", autouse=True)
def single_thread() -> None:
    """Sums in one order, and room for other processes."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project folder: nothing that a test writes leaves it."""
    monkeypatch.setenv("LTQ_HOME", str(tmp_path))
    return tmp_path
