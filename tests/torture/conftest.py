"""The torture suite: collected only where LTQ_TORTURE is `quick` or `full`; one table at the end.

LTQ_TORTURE=quick pytest tests/torture      five minutes of two cores, in CI
LTQ_TORTURE=full pytest tests/torture       adds its rows to benchmarks/torture.json
"""

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from torture_tools import COUNT, LIFE, MODE, Blow, Tally, run, told_by

from ltqlib.evidence.provenance import provenance
from ltqlib.files import write_whole

RECORD = Path(__file__).parents[2] / "benchmarks" / "torture.json"
PARTS = ("kills", "damage", "inputs", "company", "trust", "numbers", "cluster")

if MODE not in ("", "quick", "full"):
    raise pytest.UsageError(f"LTQ_TORTURE is {MODE!r}: use quick or full")
collect_ignore_glob = [] if MODE else ["test_*.py"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A part may take long, above all on a busy machine; nothing may take for ever."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(900 if MODE == "quick" else 14_400))


@pytest.fixture(scope="session", autouse=True)
def nothing_fresh() -> Iterator[None]:
    """The settings of whoever runs the suite are not those of what it runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("LTQ_FRESH", raising=False)
        yield


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Callable[[str, str], AbstractContextManager[Tally]]:
    """``with tally(part, what) as row``: a row of the table; the test fails where a try did."""

    @contextlib.contextmanager
    def counting(part: str, what: str) -> Iterator[Tally]:
        row, started = Tally(part, what), time.perf_counter()
        try:
            yield row
        except BaseException as error:
            row.failed(f"the test itself: {error!r}")
            raise
        finally:
            told = {
                **row.told(),
                "test": request.node.name,
                "seconds": round(time.perf_counter() - started, 1),
            }
            request.node.user_properties.append(("torture", told))  # xdist carries it along
        assert not row.failures, "\n" + "\n".join(row.failures[:80])
        assert row.tried

    return counting


@pytest.fixture(scope="session")
def peaceful(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of a life without interruption, and how many changes of files it had."""
    home = tmp_path_factory.mktemp("peaceful") / "home"
    assert run(home, LIFE, Blow(COUNT, 0)) == 0, told_by(home).read_text()
    return home


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The table, and the record of it."""
    reports = [report for kind in ("passed", "failed") for report in
               terminalreporter.stats.get(kind, []) if report.when == "call"]  # fmt: skip
    rows = [told for report in reports for key, told in report.user_properties if key == "torture"]
    if not rows:
        return
    rows.sort(key=lambda row: PARTS.index(row["part"]))
    write = terminalreporter.write_line
    terminalreporter.section(f"torture, {MODE}")
    write(f"{'part':8} {'tried':>6} {'failed':>6} {'s':>6}  what: what came of it")
    for row in rows:
        found = ", ".join(f"{name} {count}" for name, count in row["found"].items())
        numbers = f"{row['tried']:6} {row['failed']:6} {row['seconds']:6.0f}"
        write(f"{row['part']:8} {numbers}  {row['what']}: {found}")
    if MODE == "full" or os.environ.get("LTQ_TORTURE_RECORD") == "1":
        _keep(rows)


def _keep(rows: list[dict[str, Any]]) -> None:
    """Rows that were there and are not among the new ones stay: a part may be run alone."""
    origin = {key: provenance()[key] for key in ("created", "commit", "dirty", "machine")}
    before = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else []
    new = {row["test"]: {**row, "version": MODE, **origin} for row in rows}
    every = {row["test"]: row for row in before} | new
    ordered = sorted(every.values(), key=lambda row: PARTS.index(row["part"]))
    write_whole(RECORD, (json.dumps(ordered, indent=1) + "\n").encode())
