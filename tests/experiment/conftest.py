"""The small experiment, computed once for all tests of the room."""

import pytest
from small_experiment import RECIPE, WIDTHS, Experiment

import ltqlib as ltq


@pytest.fixture(scope="session")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """Two seeds at imbalance factor 0.1, both stages, in a home of their own."""
    home = tmp_path_factory.mktemp("experiment")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LTQ_HOME", str(home))
        patch.delenv("LTQ_FRESH", raising=False)
        data = ltq.load_data("digits", imbalance_factor=0.1)
        baseline = ltq.train(data, seeds=[0, 1], **RECIPE)  # type: ignore[arg-type]
        crt = ltq.decouple(baseline, "crt")
        ltq.evaluate({"baseline": baseline, "crt": crt}, bits=WIDTHS)
    return Experiment(home, data, baseline, crt)


@pytest.fixture
def at_home(experiment: Experiment, monkeypatch: pytest.MonkeyPatch) -> Experiment:
    """The experiment, with its home as the project folder."""
    monkeypatch.setenv("LTQ_HOME", str(experiment.home))
    monkeypatch.delenv("LTQ_FRESH", raising=False)
    return experiment
