"""One small experiment on the digits, computed once for all tests of the room."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import ltqlib as ltq

RECIPE = {"profile": "smoke", "train_images": 6_400, "stage2_images": 640}


class Experiment(NamedTuple):
    """A home with two trained networks, and the calls that made them."""

    home: Path
    data: ltq.LongTail
    baseline: ltq.Networks
    crt: ltq.Networks


@pytest.fixture(scope="session")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Experiment]:
    """Two seeds at imbalance factor 0.1, both stages, in a home of their own."""
    home = tmp_path_factory.mktemp("experiment")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LTQ_HOME", str(home))
        patch.delenv("LTQ_FRESH", raising=False)
        data = ltq.load_data("digits", imbalance_factor=0.1)
        baseline = ltq.train(data, seeds=[0, 1], **RECIPE)  # type: ignore[arg-type]
        yield Experiment(home, data, baseline, ltq.decouple(baseline, "crt"))


@pytest.fixture
def at_home(experiment: Experiment, monkeypatch: pytest.MonkeyPatch) -> Experiment:
    """The experiment, with its home as the project folder."""
    monkeypatch.setenv("LTQ_HOME", str(experiment.home))
    monkeypatch.delenv("LTQ_FRESH", raising=False)
    return experiment
