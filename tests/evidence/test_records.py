"""Records: what is written is what is read, and a row of a history is one line."""

import json
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from ltqlib.evidence.records import read_record, write_record

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
FINITE = LEAVES.filter(lambda leaf: leaf not in (float("inf"), float("-inf")))
VALUES = st.recursive(FINITE, lambda each: st.lists(each) | st.dictionaries(st.text(), each))


@settings(max_examples=25)  # each is synced to the disk
@given(st.dictionaries(st.text(), VALUES))
def test_what_is_written_is_read(content: dict) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.json"
        written = write_record(path, content)
        assert read_record(path) == written
    told = {key: value for key, value in written.items() if key not in ("schema", "checksum")}
    assert told == {k: v for k, v in content.items() if k not in ("schema", "checksum")}


def test_a_row_of_a_table_is_one_line(tmp_path: Path) -> None:
    rows = [{"epoch": epoch, "loss": 0.5, "names": "a,\n b"} for epoch in (1, 2)]
    write_record(tmp_path / "network.json", {"history": rows, "counts": [3, 2, 1]})
    lines = (tmp_path / "network.json").read_text().splitlines()
    found = [json.loads(line.strip().rstrip(",")) for line in lines if "epoch" in line]
    assert found == rows
    assert ' "counts": [3, 2, 1],' in lines
