"""Several processes on one store; disks full, read-only or without locks; little memory."""

import errno
import os
import random
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torture_tools as tools
from torture_tools import EVALUATE, FULL, LIFE, PUBLISH, READ_ONLY, RUN, Blow, many

PROCESSES = many(4, 8)


@pytest.fixture(scope="module")
def wanted(peaceful: Path) -> dict[str, Any]:
    return tools.contents(peaceful)


def together(home: Path, each: list[list[tuple[str, ...]]]) -> list[tuple[int, str]]:
    """Children on one store at the same time: exit code, and what each told."""
    home.mkdir(parents=True, exist_ok=True)
    processes = []
    for number, steps in enumerate(each):
        told = home.with_name(f"{home.name}.{number}.told")
        process = tools.FORKED.Process(target=tools.life, args=(home, steps, None, told))
        process.start()
        processes.append((process, told))
    ends = []
    for process, told in processes:
        process.join()
        ends.append((process.exitcode, told.read_text()))
    return ends


def test_one_network_by_all(tally, wanted, tmp_path):
    """Exactly one computes; the others find what it computed, and all publish."""
    with tally("company", f"{PROCESSES} processes: the same network, then published") as row:
        for number in range(many(1, 5)):
            home = tmp_path / str(number)
            ends = together(home, [list(LIFE)] * PROCESSES)
            for code, told in ends:
                row.check(code == 0, "exit code 0", f"{code}: {told[-800:]}")
            trained = sum(len(re.findall("train smoke.*: done in", told)) for _, told in ends)
            wrong = tools.differences(tools.contents(home), wanted)
            what = "trained once, as if alone"
            row.check(trained == 1 and not wrong, what, f"trained {trained} times; {wrong}")


def test_different_networks_and_evaluations(tally, peaceful, tmp_path):
    """Other seeds, other widths of one network, publishing and reading, all at once."""
    home = tmp_path / "home"
    shutil.copytree(peaceful, home)
    widths = [("evaluate", str(bits)) for bits in (8, 6, 5, 3, 2)]
    others = [[(*RUN, f"--seed={seed}", "--epochs=1")] for seed in range(1, many(2, 4))]
    publishing = [[PUBLISH, ("show",)] * many(3, 8)]
    each = [*publishing, *([step, ("show",)] for step in widths[: many(2, 4)]), *others]
    with tally("company", f"{len(each)} processes: other networks and widths, publishing") as row:
        ends = together(home, each)
        for (code, told), steps in zip(ends, each, strict=True):
            row.check(code == 0, "exit code 0", f"{steps}: {code}: {told[-800:]}")
        kept = tools.rows_of(home)
        for width in ("32", "4", *(step[1] for step in widths[: many(2, 4)])):
            row.check(int(width) in kept, "kept", f"the evaluation at {width} bits is lost")


def without_locks(home: Path, steps: list[tuple[str, ...]], told: Path) -> None:
    """As on a network file system that has none."""
    import fcntl

    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    fcntl.flock = flock  # type: ignore[assignment]
    tools.life(home, steps, None, told)


def test_no_locks(tally, wanted, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    with tally("company", "a file system without locks: two processes, the same network") as row:
        told = [home.with_name(f"{number}.told") for number in range(2)]
        processes = [
            tools.FORKED.Process(target=without_locks, args=(home, [RUN, EVALUATE], place))
            for place in told
        ]
        for process in processes:
            process.start()
        for process, place in zip(processes, told, strict=True):
            process.join()
            text = place.read_text()
            right = process.exitcode == 0 and "lock" in text and "Traceback" not in text
            row.check(right, "done, with a warning", f"{process.exitcode}: {text[-800:]}")
        assert tools.run(home, [PUBLISH]) == 0
        wrong = tools.differences(tools.contents(home), wanted)
        row.check(not wrong, "as if alone", f"other: {wrong}")


@pytest.mark.parametrize("kind", [FULL, READ_ONLY])
def test_no_room(kind, tally, wanted, peaceful, tmp_path):
    """The disk refuses one change, or from one on all; then there is room again."""
    draw, total = random.Random(8), tools.told_by(peaceful).read_text().count("\nchange ") + 1
    numbers = sorted(draw.sample(range(1, total), min(many(4, 60), total - 1)))
    with tally("company", f"the disk is {kind} at a change of a file, and later not") as row:
        home = tmp_path / "home"
        for number in numbers:
            if MANY_LIVES or not home.exists():
                shutil.rmtree(home, ignore_errors=True)
            blow = Blow(kind, number, every=draw.random() < 0.5)
            code = tools.run(home, LIFE, blow)
            told = tools.told_by(home).read_text()
            half = [path.name for path in home.rglob("*.partial")] if not blow.every else []
            lines = [line for line in told.splitlines() if line.startswith("ltq: ")]
            clear = code == 2 and len(lines) == 1 and "Traceback" not in told
            why = f"change {number}: {code}, {half}: {told[-800:]}"
            row.check((code == 0 or clear) and not half, "one line" if code else "no matter", why)
            if MANY_LIVES:
                lives_on(row, home, wanted, number)
        if not MANY_LIVES:
            lives_on(row, home, wanted, numbers[-1])


MANY_LIVES = tools.MODE == "full"  # a new store for each refusal, not one for all of them


def lives_on(row: tools.Tally, home: Path, wanted: dict[str, Any], number: int) -> None:
    code = tools.run(home, LIFE)
    wrong = tools.differences(tools.contents(home), wanted)
    why = f"after change {number}: {code}: {wrong}"
    row.check(code == 0 and not wrong, "then as if there had been room", why)


def test_a_disk_that_is_really_full(tally, wanted, peaceful, tmp_path):
    """A file system of a few kilobytes, which fills up in the middle of a write."""
    home = tmp_path / "home"
    files = [path for path in peaceful.rglob("*") if path.is_file()]
    needed = 4 * sum(-(-path.stat().st_size // 4096) for path in files)  # kB, in whole pages
    home.mkdir()
    size = ["-o", f"size={needed // 4}k"]
    mounted = subprocess.run(["mount", "-t", "tmpfs", *size, "tmpfs", home], check=False)
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        what = "a disk with a quarter, then a half, then ten times the room that is needed"
        with tally("company", what) as row:
            for room in (f"{needed // 4}k", f"{needed // 2}k"):
                subprocess.run(["mount", "-o", f"remount,size={room}", home], check=True)
                code, told = tools.run(home, LIFE), tools.told_by(home).read_text()
                lines = [line for line in told.splitlines() if line.startswith("ltq: ")]
                right = code == 2 and len(lines) == 1 and "disk is full" in lines[0]
                row.check(right, "one line", f"{room}: {code}: {told[-800:]}")
            subprocess.run(["mount", "-o", f"remount,size={10 * needed}k", home], check=True)
            lives_on(row, home, wanted, 0)
    finally:
        subprocess.run(["umount", home], check=True)


def limited(home: Path, steps: list[tuple[str, ...]], gigabytes: float) -> None:
    """So much memory of its own, and no more."""
    size = int(gigabytes * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (size, size))
    tools.life(home, steps)


def test_little_memory(tally, tmp_path):
    """Two gigabytes are enough for the smoke grid; what does not fit says so."""
    cases: dict[str, tuple[list[tuple[str, ...]], bool]] = {
        "the smallest experiment": ([*LIFE], True),
        "a network 64 times as wide": ([(*RUN, "--width=64")], False),
        "a batch of a million": (
            [(*RUN, "--batch-size=1000000", "--width=8", "--epochs=1")],
            False,
        ),
    }
    with tally("company", "2 GB of memory") as row:
        for name, (steps, fits) in list(cases.items())[: many(2, 3)]:
            home = tmp_path / name.replace(" ", "-")
            home.mkdir()
            process = tools.FORKED.Process(target=limited, args=(home, steps, 2))
            process.start()
            process.join()
            told = tools.told_by(home).read_text()
            lines = [line for line in told.splitlines() if line.startswith("ltq: ")]
            clear = process.exitcode == 2 and len(lines) == 1 and "Traceback" not in told
            right = process.exitcode == 0 if fits else clear
            why = f"{name}: {process.exitcode}: {told[-800:]}"
            row.check(right, "done" if fits else "one line", why)
            assert not list(home.rglob("*.partial"))


def test_two_books(tally, peaceful, tmp_path):
    """The same page executed twice at a time, as papermill does, on one store."""
    if tools.MODE == "quick":
        pytest.skip("kernels take a minute; the full version has it")
    home, root = tmp_path / "home", Path(__file__).parents[2]
    shutil.copytree(peaceful, home)
    page = subprocess.run(
        [sys.executable, "-m", "jupytext", "--quiet", "--to", "ipynb", "--output", "-",
         root / "book" / "factor.md"], capture_output=True, check=True,
    )  # fmt: skip
    given = ("-p source digits", "-p profile smoke", "-p imbalance_factor 0.1")
    command = [sys.executable, "-m", "papermill", "--no-progress-bar", "--kernel", "python3"]
    command += ["--cwd", root / "book", *" ".join(given).split(), "-"]
    with tally("company", "one page of the book twice at a time") as row:
        processes = [
            subprocess.Popen(
                [*command, tmp_path / f"{number}.ipynb"],
                env={**os.environ, "LTQ_HOME": str(home)},
                stdin=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            for number in range(2)
        ]
        for process in processes:
            assert process.stdin is not None
            process.stdin.write(page.stdout)
            process.stdin.close()
            process.stdin = None
        for process in processes:
            _, error = process.communicate()
            row.check(process.returncode == 0, "shown", error.decode()[-800:])
