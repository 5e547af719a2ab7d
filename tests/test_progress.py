"""Lines of progress: what they promise of the time left."""

import re

import pytest

from ltqlib import progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until the test moves it, in seconds."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def minutes_left(printed: str) -> float:
    return float(re.search(r"about ([\d.]+) min left", printed)[1])


@pytest.mark.parametrize("before", [0, 50, 90])
def test_the_time_left_counts_only_what_this_run_did(clock, capsys, before):
    """A resumed training does not take the passes of the first run for its own speed."""
    bar = progress.Progress(100, "train", done=before)
    clock[0] = 60.0
    bar.update(5)
    printed = capsys.readouterr().err
    assert f"{before + 5:3.0f} %" in printed
    assert minutes_left(printed) == pytest.approx((95 - before) / 5, abs=0.05)


def test_work_that_ends_within_the_interval_prints_nothing(clock, capsys):
    with progress.Progress(100, "train") as bar:
        clock[0] = 19.0
        bar.update(100)
    assert capsys.readouterr().err == ""
