"""Records: what is written comes back, and what is damaged is refused."""

import errno
import json
import multiprocessing
import os
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ltqlib.first import records
from ltqlib.first.errors import InputError

RECORD = {"step": "data", "payload": {"counts": [5, 3], "share": 0.25, "note": "é"}}
SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def path(tmp_path):
    """Where a record has been written."""
    target = tmp_path / "run" / "data.json"
    records.write(target, RECORD)
    return target


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        records.read(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_a_record_comes_back_as_written(tmp_path):
    written = records.write(tmp_path / "a" / "data.json", RECORD)
    assert records.read(tmp_path / "a" / "data.json") == written
    assert {key: written[key] for key in RECORD} == RECORD


def test_writing_returns_what_a_reader_sees_in_the_same_order(tmp_path):
    payload = {"L10": (1, 2), "L2": np.float64(0.5), "L1": None}
    written = records.write(tmp_path / "data.json", {"step": "x", "payload": payload})
    assert list(written["payload"].items()) == [("L10", [1, 2]), ("L2", 0.5), ("L1", None)]
    assert list(records.read(tmp_path / "data.json")) == list(written)


@given(st.lists(st.integers(0, 255)))
def test_small_numbers_come_back_from_their_text(values):
    text = records.pack(values)
    assert records.unpack(text).tolist() == values
    assert text.isascii()


@given(st.lists(st.integers(0, 100_000)).map(sorted))
def test_indices_come_back_from_their_text(indices):
    found = records.unpack_indices(records.pack_indices(indices))
    assert found.tolist() == indices
    assert found.dtype == np.int64


@pytest.mark.parametrize("values", [[256], [-1], [3, 1_000, 4]])
def test_numbers_that_do_not_fit_a_byte_are_refused(values):
    with pytest.raises(ValueError, match=r"0\.\.255"):
        records.pack(values)


def test_a_record_cut_anywhere_is_refused(path):
    content = path.read_bytes()
    for length in range(len(content) - 2):  # less than the last brace
        path.write_bytes(content[:length])
        assert "truncated or not JSON" in refusal(path)


def test_a_flipped_bit_in_any_character_is_refused(path):
    content = path.read_bytes()
    for position in range(len(content) - 1):
        path.write_bytes(
            content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]
        )
        refusal(path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param(b'{"schema": 2, "checksum": ""}', "not a record of schema 1", id="schema"),
        pytest.param(b"[1, 2]", "not a record of schema 1", id="other-json"),
        pytest.param(b'{"schema": 1}', "altered", id="no-checksum"),
        pytest.param(bytes(range(256)), "truncated or not JSON", id="binary"),
        pytest.param(b"", "truncated or not JSON", id="empty"),
    ],
)
def test_other_content_is_refused(path, content, says):
    path.write_bytes(content)
    assert says in refusal(path)


def test_a_missing_record_is_refused(tmp_path):
    assert "does not exist" in refusal(tmp_path / "data.json")


def no_space(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("owner", "name"),
    [pytest.param(os, "fsync", id="writing"), pytest.param(Path, "replace", id="renaming")],
)
def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch, owner, name):
    monkeypatch.setattr(owner, name, no_space)
    with pytest.raises(InputError, match=r"^cannot write .*the disk is full: free some space"):
        records.write(tmp_path / "data.json", RECORD)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_spares_the_record_that_was_there(path, monkeypatch):
    monkeypatch.setattr(os, "fsync", no_space)
    before = records.read(path)
    with pytest.raises(InputError, match="the disk is full"):
        records.write(path, {"step": "other"})
    assert records.read(path) == before


def test_a_published_record_goes_before_a_cached_one(home, monkeypatch):
    cached = home / "runs" / "abc" / "data.json"
    published = home / "results" / "abc" / "data.json"
    assert records.find("abc", "data") is None
    records.write(cached, RECORD)
    assert records.find("abc", "data") == cached
    records.write(published, RECORD)
    assert records.find("abc", "data") == published
    assert records.digests(home / "results") == ["abc"]
    monkeypatch.setenv("LTQ_FRESH", "1")
    assert records.find("abc", "data") == cached


def write_many(path: Path, writer: int) -> None:
    for number in range(40):
        records.write(path, {"writer": writer, "text": "x" * (number * 500)})


def test_a_reader_never_sees_half_of_what_many_writers_write(tmp_path):
    path = tmp_path / "data.json"
    writers = [SPAWN.Process(target=write_many, args=(path, writer)) for writer in range(4)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        if path.exists():
            records.read(path)
    assert [writer.exitcode for writer in writers] == [0] * 4
    assert len(records.read(path)["text"]) == 39 * 500
    assert list(tmp_path.iterdir()) == [path]


def hold_lock(log: Path) -> None:
    for _ in range(5):
        with records.lock("abc"):
            for word in ("in", "out"):
                with log.open("a") as file:
                    file.write(f"{word} {os.getpid()}\n")
                time.sleep(0.02)


def test_the_lock_lets_one_process_in_at_a_time(home):
    log = home / "log.txt"
    processes = [SPAWN.Process(target=hold_lock, args=(log,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    lines = [line.split() for line in log.read_text().splitlines()]
    assert len({process for _, process in lines}) == 2
    assert len(lines) == 20
    for entered, left in zip(lines[::2], lines[1::2], strict=True):
        assert (entered[0], left[0]) == ("in", "out")
        assert entered[1] == left[1]


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda text: text.replace("1e+30", "1e930"), "altered"),
        (lambda text: "[" * 200_000, "truncated or not JSON"),
    ],
    ids=["number-became-infinite", "endless-nesting"],
)
def test_odd_damage_is_one_line_as_well(damage, says, tmp_path):
    path = tmp_path / "record.json"
    records.write(path, {"payload": 1e30})
    path.write_text(damage(path.read_text()))
    with pytest.raises(InputError, match=says):
        records.read(path)


def test_integer_keys_come_back_as_text(tmp_path):
    written = records.write(tmp_path / "r.json", {"payload": {2: 0, 10: 0}})
    assert records.read(tmp_path / "r.json") == written
    assert written["payload"] == {"2": 0, "10": 0}


def test_the_order_of_layers_survives(tmp_path):
    layers = {f"L{n}": n for n in (1, 2, 10, 11, 3)}
    records.write(tmp_path / "r.json", {"payload": layers})
    assert list(records.read(tmp_path / "r.json")["payload"]) == list(layers)


def test_what_cannot_be_packed_is_refused():
    with pytest.raises(ValueError, match="sorted"):
        records.pack_indices([5, 3])
    with pytest.raises(ValueError, match="integers"):
        records.pack([3.7])


def test_numbers_come_back_to_five_digits_in_their_shape() -> None:
    values = np.array([[1.0, -2.345678e-7, np.inf], [0.0, 123456.7, 1 / 3]])
    packed = json.loads(json.dumps(records.pack_numbers(values)))
    found = records.unpack_numbers(packed)
    assert found.shape == (2, 3)
    np.testing.assert_allclose(found, values, rtol=1e-4)
    assert packed["values"].split()[1] == "-2.3457e-07"
    assert records.unpack_numbers(records.pack_numbers(3.0)) == 3.0


@given(st.lists(st.integers(0, 65_535)))
def test_an_array_of_integers_comes_back(values):
    text = records.pack_array(values, "<u2")
    assert records.unpack_array(text, "<u2").tolist() == values


@given(st.lists(st.floats(width=16, allow_nan=False, allow_infinity=False)))
def test_an_array_of_numbers_comes_back(values):
    text = records.pack_array(values, "<f2")
    assert records.unpack_array(text, "<f2").tolist() == values


@pytest.mark.parametrize(
    ("values", "dtype"), [([-1], "<u2"), ([70_000], "<u2"), ([1e5], "<f2"), ([np.nan], "<f2")]
)
def test_a_number_that_does_not_fit_is_refused(values, dtype):
    with pytest.raises(ValueError, match="does not fit"):
        records.pack_array(values, dtype)
