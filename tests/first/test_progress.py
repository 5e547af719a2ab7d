"""Progress goes to standard error, says how much is left, and stays quiet in between."""

import pytest

from ltqlib.first.progress import Progress


def test_lines_hold_share_and_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(4, "work", interval=0) as bar:
        bar.update(1, "first")
        bar.update(3)
    told = capsys.readouterr()
    assert told.out == ""
    lines = told.err.splitlines()
    assert lines[0].startswith("work:  25 %, about ")
    assert lines[0].endswith("min left first")
    assert lines[-1].startswith("work: done in ")


def test_nothing_is_printed_before_the_interval(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(100, "work", interval=60) as bar:
        for _ in range(100):
            bar.update()
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_an_error_is_not_called_done(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="broken"), Progress(1, "work"):
        raise ValueError("broken")
    assert "done" not in capsys.readouterr().err


def test_a_terminal_gets_a_bar(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with Progress(2, "work") as bar:
        bar.update(2, "now")
    assert "work: 100%" in capsys.readouterr().err
