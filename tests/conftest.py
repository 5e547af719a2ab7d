"""Fixtures that every test shares: the same examples everywhere, one thread, an empty home."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples on every machine, and no deadline: a busy machine is not a failure.
settings.register_profile("ltqlib", derandomize=True, deadline=None)
settings.load_profile("ltqlib")


@pytest.fixture(scope="session", autouse=True)
def single_thread() -> Iterator[None]:
    """Sums in one order, and room for other processes: here, in children and in kernels."""
    import torch

    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="session", autouse=True)
def children_listen() -> None:
    """A shell's background ignores SIGINT, and so would the children of a suite that runs there."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project folder: nothing that a test writes leaves it."""
    monkeypatch.setenv("LTQ_HOME", str(tmp_path))
    return tmp_path
