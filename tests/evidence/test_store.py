"""The store: what is kept is found again, whole, unaltered, and computed only once."""

import hashlib
import lzma
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from ltqlib import paths
from ltqlib.errors import InputError
from ltqlib.evidence import arrays, records, remember, remember_rows, store


@dataclass(frozen=True)
class Subject:
    digest: str = "0123456789ab"


def outcomes(rows: list[tuple[int, ...]], label_of_first: int = 0) -> xr.Dataset:
    """As an evaluation writes them: row r predicts class r % 10 for every one of 20 images."""
    labels = np.arange(20) % 10
    labels[0] = label_of_first
    predicted = np.array([[sum(row) % 10] * 20 for row in rows], np.uint8).T
    margin = (np.arange(20 * len(rows)).reshape(20, -1) - 30) / 8
    dataset = xr.Dataset(
        {
            "widths": (("configuration", "layer"), np.array(rows, np.uint8)),
            "predicted": (("image", "configuration"), predicted),
            "margin": (("image", "configuration"), margin),
        },
        {"label": ("image", labels), "layer": ["L1", "L2"]},
        {"classes": [f"c{n}" for n in range(10)]},
    )
    packing = {"dtype": "int16", "scale_factor": 1 / 8, "_FillValue": -(2**15)}
    dataset["margin"].encoding = packing
    return dataset


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.nc.xz"
    dataset = outcomes([(4, 4), (6, 6)])
    arrays.write_dataset(path, dataset)
    found = arrays.read_dataset(path)
    xr.testing.assert_equal(found, dataset)
    assert found.attrs["classes"] == dataset.attrs["classes"]
    with xr.open_dataset(lzma.open(path), engine="h5netcdf") as plain:  # no code of ours is needed
        stored = plain.load()
    rest = ["widths", "predicted"]
    xr.testing.assert_equal(stored[rest], dataset[rest])
    first, less = stored["margin_from_first"].transpose("configuration", "image").values
    np.testing.assert_array_equal(dataset["margin"].T, [first, first + less])


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_steps_of_configurations_are_read_as_they_were(tmp_path: Path, kind: type) -> None:
    """Differences from the first configuration, in any order of dimensions, far ones and none."""
    generator, path, step = np.random.default_rng(1), tmp_path / "a.nc.xz", kind(1 / 8)
    steps = generator.integers(-(2**15) + 1, 2**15, (5, 600))
    near = np.clip(steps[:1] + generator.integers(-200, 200, (5, 600)), -(2**14), 2**14)
    lost = np.where(generator.random((5, 600)) < 0.1, np.nan, near)
    for values, moved in ((near, True), (steps, False), (lost, False), (near[:1], False)):
        for dims in (("configuration", "image"), ("image", "configuration")):
            stored = values if dims[0] == "configuration" else values.T
            dataset = xr.Dataset({"margin": (dims, (stored * step).astype(kind))})
            packing = {"dtype": "int16", "scale_factor": step, "_FillValue": -(2**15)}
            dataset["margin"].encoding = packing
            arrays.write_dataset(path, dataset)
            found = arrays.read_dataset(path)
            xr.testing.assert_identical(found, dataset)
            assert found["margin"].dtype == kind
            assert packing.items() <= found["margin"].encoding.items()
            assert dataset["margin"].encoding == packing
            with xr.open_dataset(lzma.open(path), engine="h5netcdf") as plain:
                assert list(plain) == ["margin_from_first" if moved else "margin"]


def test_differences_take_less_room(tmp_path: Path) -> None:
    generator, path = np.random.default_rng(2), tmp_path / "a.nc.xz"
    steps = generator.normal(0, 40, 5000) + generator.normal(0, 3, (20, 5000))
    dataset = xr.Dataset({"margin": (("configuration", "image"), steps.round())})
    arrays.write_dataset(path, dataset.astype("int16"))
    plain = path.stat().st_size
    dataset["margin"].encoding = {"dtype": "int16", "scale_factor": 1.0, "_FillValue": -(2**15)}
    arrays.write_dataset(path, dataset)
    assert path.stat().st_size < 0.8 * plain


def test_the_same_dataset_gives_the_same_bytes(tmp_path: Path) -> None:
    arrays.write_dataset(tmp_path / "a.nc.xz", outcomes([(4, 4)]))
    arrays.write_dataset(tmp_path / "b.nc.xz", arrays.read_dataset(tmp_path / "a.nc.xz"))
    assert (tmp_path / "a.nc.xz").read_bytes() == (tmp_path / "b.nc.xz").read_bytes()


def test_every_flipped_byte_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.nc.xz"
    arrays.write_dataset(path, outcomes([(4, 4), (6, 6)]))
    whole = path.read_bytes()
    for place in np.random.default_rng(0).permutation(len(whole))[:200].tolist():
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        with pytest.raises(InputError, match="delete it"):
            arrays.read_dataset(path)


@pytest.mark.parametrize(
    "damage",
    [b"", b"half", lzma.compress(b"no NetCDF")[:40], lzma.compress(b"nor with its checksum")],
)
def test_a_damaged_file_is_one_line(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "a.nc.xz").write_bytes(damage)
    with pytest.raises(InputError, match="damaged"):
        arrays.read_dataset(tmp_path / "a.nc.xz")


def test_a_remembered_function_computes_once(home: Path) -> None:
    calls = []

    @remember
    def squares(subject: Subject, *, upto: int) -> xr.Dataset:
        calls.append(upto)
        return xr.Dataset({"square": ("n", np.arange(upto) ** 2)})

    first, again = squares(Subject(), upto=4), squares(Subject(), upto=4)
    xr.testing.assert_identical(first, again)
    assert first.attrs["upto"] == 4
    assert first.attrs["seconds"] >= 0
    squares(Subject(), upto=5)
    squares(Subject("ba9876543210"), upto=4)
    assert calls == [4, 5, 4]
    assert not list(home.rglob("*.partial"))


def test_only_rows_that_are_not_known_are_computed(home: Path) -> None:
    calls: list[list[tuple[int, ...]]] = []

    @remember_rows
    def evaluated(subject: Subject, rows: list[tuple[int, ...]], *, method: str) -> xr.Dataset:
        calls.append(list(rows))
        return outcomes(rows)

    evaluated(Subject(), [(4, 4), (6, 6)], method="w")
    found = evaluated(Subject(), [(6, 6), (8, 4), (4, 4), (6, 6)], method="w")
    assert calls == [[(4, 4), (6, 6)], [(8, 4)]]
    assert found["widths"].values.tolist() == [[6, 6], [8, 4], [4, 4], [6, 6]]
    assert found["predicted"].isel(image=0).values.tolist() == [2, 2, 8, 2]
    evaluated(Subject(), [(8, 4)], method="other")
    assert calls[-1] == [(8, 4)]


def test_rows_beside_published_ones_are_computed_once(home: Path) -> None:
    calls: list[list[tuple[int, ...]]] = []

    @remember_rows
    def evaluated(subject: Subject, rows: list[tuple[int, ...]]) -> xr.Dataset:
        calls.append(list(rows))
        return outcomes(rows)

    evaluated(Subject(), [(4, 4)])
    (working,) = home.rglob("*.nc.xz")
    published = paths.results(Subject().digest) / working.name
    published.parent.mkdir(parents=True)
    working.replace(published)
    told = hashlib.sha256(published.read_bytes()).hexdigest()
    name = published.relative_to(paths.results()).as_posix()
    (paths.results() / "registry.txt").write_text(f"{name} sha256:{told}\n")
    for _ in range(2):
        found = evaluated(Subject(), [(6, 6), (4, 4)])
        assert found["predicted"].isel(image=0).values.tolist() == [2, 8]
    arrays.write_dataset(working, outcomes([(8, 8)]))  # fewer than are published, and another
    found = evaluated(Subject(), [(8, 8), (4, 4)])
    assert found["predicted"].isel(image=0).values.tolist() == [6, 8]
    assert calls == [[(4, 4)], [(6, 6)]]


def test_rows_of_other_images_are_not_added(home: Path) -> None:
    label = [0]

    @remember_rows
    def evaluated(subject: Subject, rows: list[tuple[int, ...]]) -> xr.Dataset:
        return outcomes(rows, label[0])

    evaluated(Subject(), [(4, 4)])
    label[0] = 7
    with pytest.raises(InputError, match="images are not those"):
        evaluated(Subject(), [(6, 6)])


def test_published_files_are_read_first_and_verified(home: Path) -> None:
    record = store.keep_record("d1", {"config": {"seed": 0}})
    assert store.find_record("d1") == record
    published = paths.results("d1") / store.NETWORK
    records.write_record(published, {"config": {"seed": 1}})
    with pytest.raises(InputError, match="not the published file"):
        store.find_record("d1")
    told = hashlib.sha256(published.read_bytes()).hexdigest()
    (paths.results() / "registry.txt").write_text(f"d1/network.json sha256:{told}\n")
    found = store.find_record("d1")
    assert found is not None
    assert found["config"] == {"seed": 1}


def test_fresh_leaves_the_published_out(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records.write_record(paths.results("d1") / store.NETWORK, {"config": {}})
    monkeypatch.setenv("LTQ_FRESH", "1")
    assert store.find_record("d1") is None
    assert store.digests() == []


@pytest.mark.parametrize("damage", ["{", "[]", '{"schema": 2, "checksum": "no"}'])
def test_a_damaged_record_is_one_line(tmp_path: Path, damage: str) -> None:
    (tmp_path / "network.json").write_text(damage)
    with pytest.raises(InputError, match="delete it"):
        records.read_record(tmp_path / "network.json")
