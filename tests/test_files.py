"""Files are whole or not there, and what a killed writer leaves goes with the next one."""

import errno
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from ltqlib.errors import InputError
from ltqlib.files import PARTIAL, remove, write_whole

SLOW_WRITER = """
import os, sys, time
from pathlib import Path
from ltqlib.files import write_whole
def wait(_):
    print("writing", flush=True)
    time.sleep(60)
os.fsync = wait
write_whole(Path(sys.argv[1]), b"half")
"""


def test_the_next_writer_removes_what_a_killed_one_left_and_nothing_else(tmp_path: Path) -> None:
    path, other = tmp_path / "a.nc", tmp_path / "b.nc"
    command = [sys.executable, "-c", SLOW_WRITER]
    writers = [
        subprocess.Popen([*command, str(target)], stdout=subprocess.PIPE)
        for target in (path, path, other)
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"writing\n"
    killed, alive, elsewhere = writers
    for writer in (killed, elsewhere):
        writer.kill()
        writer.communicate()
    machine = tmp_path / f".a.nc.another-machine-{killed.pid}{PARTIAL}"
    machine.touch()
    assert len(list(tmp_path.iterdir())) == 4
    write_whole(path, b"whole")
    assert path.read_bytes() == b"whole"
    left = {name.name.rpartition("-")[2] for name in tmp_path.glob(f".*{PARTIAL}")}
    assert left == {f"{each.pid}{PARTIAL}" for each in (alive, elsewhere, killed)}
    assert machine.exists()
    alive.kill()
    alive.communicate()
    write_whole(path, b"again")
    write_whole(other, b"other")
    assert {p.name for p in tmp_path.iterdir()} == {"a.nc", "b.nc", machine.name}


def test_a_process_of_somebody_else_is_taken_for_alive(tmp_path: Path) -> None:
    theirs = tmp_path / f".a.{platform.node()}-1{PARTIAL}"  # process 1 is always there
    theirs.touch()
    write_whole(tmp_path / "a", b"whole")
    assert theirs.exists()


def test_what_cannot_be_removed_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove(tmp_path / "never was")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(InputError, match="the disk is read-only"):
        remove(tmp_path / "a")
