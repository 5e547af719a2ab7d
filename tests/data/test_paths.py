"""Where the project's folder is found."""

from pathlib import Path

import pytest

from ltqlib import paths
from ltqlib.errors import InputError


def test_ltq_home_comes_first(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "_toc.yml").touch()
    monkeypatch.chdir(tmp_path / "project")
    assert paths.root() == home.resolve()
    places = (paths.runs, paths.results, paths.checkpoints, paths.data, paths.book)
    names = {str(place("x").relative_to(home.resolve())) for place in places}
    assert names == {"runs/x", "results/x", "checkpoints/x", "data/x", "book/x"}


def test_else_the_nearest_parent_with_a_table_of_contents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LTQ_HOME", raising=False)
    inner = tmp_path / "project" / "book" / "deep"
    inner.mkdir(parents=True)
    (tmp_path / "_toc.yml").touch()
    (tmp_path / "project" / "_toc.yml").touch()
    monkeypatch.chdir(inner)
    assert paths.root() == tmp_path / "project"


def test_else_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LTQ_HOME", "")
    monkeypatch.chdir(tmp_path)
    assert paths.root() == tmp_path


def test_a_working_folder_that_is_gone_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LTQ_HOME", raising=False)
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(InputError, match="working folder does not exist any more"):
        paths.root()


def test_a_home_of_nobody_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LTQ_HOME", "~no-such-user-here/project")
    with pytest.raises(InputError, match="LTQ_HOME is '~no-such-user-here/project'"):
        paths.root()
