"""kill -9, Ctrl-C and SIGTERM at any moment: what comes after is what it would have been."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torture_tools as tools
from torture_snakemake import furnish, of_training, snakemake, somebody_computes
from torture_tools import KILL, LIFE, PUBLISH, Blow, many

IN_A_CHAIN = 5  # kills of one store before it is left in peace


@pytest.fixture(scope="module")
def wanted(peaceful: Path) -> dict[str, Any]:
    return tools.contents(peaceful)


def changes(home: Path) -> int:
    return tools.told_by(home).read_text().count("\nchange ") + 1


def judge(row: tools.Tally, kills: int, home: Path, wanted: dict[str, Any], when: str) -> None:
    """Let a store that was killed live on; every kill before is judged by what comes of it."""
    code = tools.run(home, LIFE)
    if code != 0:
        row.failed(f"{when}: exit code {code}: {tools.told_by(home).read_text()[-800:]}")
    elif wrong := tools.differences(tools.contents(home), wanted):
        row.failed(f"{when}: other, missing or left over: {', '.join(wrong)}")
    else:
        row.saw("as if not killed", kills)


def test_ltq_killed_at_changes_of_files(tally, wanted, peaceful, tmp_path):
    """Before a file is opened, renamed or removed: the moments at which most can go wrong."""
    total, draw = changes(peaceful), random.Random(1)
    with tally("kills", "ltq: kill -9 as a file is written, renamed or removed") as row:
        for chain in range(many(1, 8)):
            home, kills, when = tmp_path / str(chain), 0, []
            while kills < IN_A_CHAIN:
                number = draw.randint(1, max(total // 4, 1))
                if tools.run(home, LIFE, Blow(KILL, number)) == 0:
                    break  # it had fewer changes left
                kills += 1
                when.append(number)
            judge(row, kills, home, wanted, f"killed at changes {when}")


def test_ltq_killed_at_random_moments(tally, wanted, peaceful, tmp_path):
    draw = random.Random(2)
    started = time.monotonic()
    assert tools.run(tmp_path / "timed", LIFE) == 0
    takes = time.monotonic() - started
    with tally("kills", "ltq: kill -9 at a random moment") as row:
        for chain in range(many(1, 6)):
            home, kills = tmp_path / str(chain), 0
            for _ in range(IN_A_CHAIN):
                process = tools.start(home, LIFE)
                process.join(draw.uniform(0, takes))
                kills += process.is_alive()
                process.kill()
                process.join()
            judge(row, max(kills, 1), home, wanted, f"chain {chain}")


def test_publishing_killed_at_each_change(tally, wanted, peaceful, tmp_path):
    """Whoever reads between the kill and the next publishing is not stopped either."""
    with tally("kills", "ltq publish: kill -9 at each of its changes, read, again") as row:
        for number in range(1, many(40, 400), many(4, 1)):
            home = tmp_path / str(number)
            shutil.copytree(peaceful / "runs", home / "runs")
            if tools.run(home, [PUBLISH], Blow(KILL, number)) == 0:
                break
            if code := tools.run(home, [("show",), tools.EVALUATE]):
                told = tools.told_by(home).read_text()[-500:]
                row.failed(f"killed at change {number}, reading gives {code}: {told}")
            else:
                judge(row, 1, home, wanted, f"publishing killed at change {number}")
            shutil.rmtree(home)


@pytest.mark.parametrize("kind", [tools.TERM, tools.INT])
def test_ltq_stopped(kind, tally, wanted, peaceful, tmp_path):
    """One line, the right exit code, no file half written; and it goes on."""
    code, word = {tools.TERM: (143, "terminated"), tools.INT: (130, "interrupted")}[kind]
    total, draw = changes(peaceful), random.Random(3)
    what = f"ltq: {tools.SIGNALS[kind].name} as a file is written, renamed or removed"
    with tally("kills", what) as row:
        for number in sorted(draw.sample(range(1, total), many(4, 25))):
            home = tmp_path / str(number)
            got = tools.run(home, [tools.RUN, PUBLISH], Blow(kind, number))
            told = tools.told_by(home).read_text()
            if got == 0:
                continue  # the signal came in a step that is not there
            said = told.count(f"ltq: {word}") == 1 and "Traceback" not in told
            half = [path.name for path in home.rglob("*") if "partial" in path.name]
            right = got == code and said and not half
            row.check(right, f"exit code {code}", f"change {number}: {got}, {half}, {told[-800:]}")
        judge(row, 1, home, wanted, "after the last signal")


# --- through Snakemake, as processes of their own ---


def test_snakemake_killed(tally, peaceful, tmp_path):
    """Snakemake and all that it started die together, as when a machine goes down."""
    draw, home = random.Random(4), furnish(tmp_path / "home")
    with tally("kills", "Snakemake: kill -9 of all its processes while one computes") as row:
        for chain in range(many(1, 5)):
            shutil.rmtree(home / "runs", ignore_errors=True)
            kills = many(1, 3)
            for _ in range(kills):
                process = snakemake(home)
                while process.poll() is None and not somebody_computes(home):
                    time.sleep(0.02)
                time.sleep(draw.uniform(0, 2))
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                while somebody_computes(home):
                    time.sleep(0.02)
            process = snakemake(home)
            told = home / "told"
            found = of_training(home) if process.wait() == 0 else {}
            wrong = tools.differences(found, of_training(peaceful))
            where = f"chain {chain}: {wrong}: {told.read_text()[-800:]}"
            row.failed(where) if wrong else row.saw("as if not killed", kills)


def test_the_program_is_stopped(tally, tmp_path):
    """`ltq` as a program, by a signal from outside, amid its training."""
    with tally("kills", "ltq as a program: SIGINT or SIGTERM from outside") as row:
        for number in range(many(2, 10)):
            sent, code = [(signal.SIGINT, 130), (signal.SIGTERM, 143)][number % 2]
            process = subprocess.Popen(
                [sys.executable, "-m", "ltqlib", *tools.RUN, "--epochs=9999"],
                env={**os.environ, "LTQ_HOME": str(tmp_path)},
                stderr=subprocess.PIPE,
                text=True,
            )
            while process.poll() is None and not somebody_computes(tmp_path):
                time.sleep(0.05)
            time.sleep(0.1 * number)
            process.send_signal(sent)
            _, error = process.communicate()
            lines = [line for line in error.splitlines() if not line.startswith("train ")]
            right = process.returncode == code and len(lines) == 1
            row.check(right, f"exit code {code}", f"{sent.name}: {process.returncode}: {error}")
