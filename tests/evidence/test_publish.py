"""Publishing: complete networks, whole files, a registry that is checked, limits that hold."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from ltqlib import paths
from ltqlib.errors import InputError
from ltqlib.evidence import arrays, publish, records, store


def make_network(
    digest: str,
    factor: float | str = 0.01,
    seed: int = 0,
    profile: str = "smoke",
    weights: int = 100,
) -> None:
    """A trained and decoupled network in runs/, with one evaluation and ``weights`` bytes each."""
    told = {}
    for name in (store.MODEL, store.HEADS):
        path = paths.runs(digest) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((digest + name).encode() * (weights // 4))
        told[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    config = {"profile": profile, "imbalance_factor": factor, "seed": 0}
    network = {"config": config, "training": {"weights": told[store.MODEL]}}
    store.keep_record(digest, network)
    store.keep_record(digest, {"weights": told[store.HEADS]}, store.STAGE2)
    make_evaluation(digest)


def make_evaluation(digest: str, name: str = "outcomes-0123abcd.nc.xz", value: int = 1) -> Path:
    path = paths.runs(digest) / name
    arrays.write_dataset(path, xr.Dataset({"predicted": ("image", np.full(20, value, np.uint8))}))
    return path


def registered(folder: Path) -> dict[str, str]:
    lines = (folder / "registry.txt").read_text().splitlines()
    assert lines == sorted(lines)
    return dict(line.split(" sha256:") for line in lines)


def test_whole_networks_are_copied_and_registered(home: Path) -> None:
    make_network("a1")
    done = publish.publish()
    names = ["network.json", "stage2.json", "outcomes-0123abcd.nc.xz"]
    assert done.files == {"a1": names}
    for name in names:
        content = (paths.results("a1") / name).read_bytes()
        assert content == (paths.runs("a1") / name).read_bytes()
        told = registered(paths.results())[f"a1/{name}"]
        assert told == hashlib.sha256(content).hexdigest()
    assert not paths.checkpoints().exists()
    assert store.places("a1", "network.json")[0] == paths.results("a1") / "network.json"
    assert store.recall("a1", "outcomes", "0123abcd") is not None  # verified on reading


def test_what_is_published_is_verified_on_reading(home: Path) -> None:
    make_network("a1")
    publish.publish()
    published, other = (
        paths.results("a1") / "outcomes-0123abcd.nc.xz",
        make_evaluation("b2", value=2),
    )
    published.write_bytes(other.read_bytes())  # whole, and of something else
    with pytest.raises(InputError, match="not the published file"):
        store.recall("a1", "outcomes", "0123abcd")


def test_files_that_did_not_change_are_left_alone(home: Path) -> None:
    make_network("a1")
    publish.publish(weights=True)
    before = {path: path.stat().st_mtime_ns for path in home.rglob("*") if path.is_file()}
    make_evaluation("a1", "outcomes-456789ef.nc.xz")
    done = publish.publish(weights=True)
    assert (done.files, done.weights) == ({"a1": ["outcomes-456789ef.nc.xz"]}, [])
    changed = {path.name for path, at in before.items() if path.stat().st_mtime_ns != at}
    assert changed - {".lock"} == {"registry.txt"}


@pytest.mark.parametrize("missing", ["network.json", "stage2.json"])
def test_incomplete_networks_are_left_out(home: Path, missing: str) -> None:
    make_network("a1")
    make_network("b2")
    (paths.runs("a1") / missing).unlink()
    assert list(publish.publish().files) == ["b2"]
    (paths.runs("b2") / missing).unlink()
    for path in paths.results("b2").glob("*"):
        path.unlink()
    with pytest.raises(InputError, match="no complete network: train and decouple"):
        publish.publish()


def test_a_profile_is_published_alone(home: Path) -> None:
    make_network("a1")
    make_network("b2", profile="laptop")
    assert list(publish.publish("laptop").files) == ["b2"]
    with pytest.raises(InputError, match="no complete network of profile 'paper'"):
        publish.publish("paper")


def test_evaluations_of_published_weights_are_added(home: Path) -> None:
    """As in a fresh clone, where runs/ has only what was computed there."""
    make_network("a1")
    publish.publish()
    for name in ("network.json", "stage2.json"):
        (paths.runs("a1") / name).unlink()
    make_evaluation("a1", "outcomes-456789ef.nc.xz")
    assert publish.publish().files == {"a1": ["outcomes-456789ef.nc.xz"]}
    assert len(registered(paths.results())) == 4


@pytest.mark.parametrize("name", ["network.json", "stage2.json", "outcomes-0123abcd.nc.xz"])
@pytest.mark.parametrize("where", ["runs", "results"])
def test_damage_is_refused_in_one_line_and_nothing_is_written(
    home: Path, name: str, where: str
) -> None:
    make_network("a1")
    publish.publish()
    make_network("b2")
    if where == "results":  # or the working copy would simply replace it
        (paths.runs("a1") / name).unlink()
    path = home / where / "a1" / name
    path.write_bytes(path.read_bytes()[:-40])
    before = sorted((home / "results").rglob("*"))
    with pytest.raises(InputError, match=r"restore it|delete it") as refused:
        publish.publish(weights=True)
    assert "\n" not in str(refused.value)
    assert sorted((home / "results").rglob("*")) == before
    assert not paths.checkpoints().exists()


def test_weights_are_those_of_the_record(home: Path) -> None:
    make_network("a1")
    (paths.runs("a1") / store.HEADS).write_bytes(b"others")
    with pytest.raises(InputError, match="not that of its record"):
        publish.publish(weights=True)
    assert not paths.results().exists()


def test_checkpoints_go_rarest_first_as_far_as_they_fit(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    factors: dict[str, float | str] = {
        "d4": 0.1,
        "c3": 0.01,
        "b2": 1.0,
        "a1": "natural",
        "e5": 0.02,
    }
    for digest, factor in factors.items():
        make_network(digest, factor)
    size = sum((paths.runs("c3") / name).stat().st_size for name in (store.MODEL, store.HEADS))
    monkeypatch.setattr(publish, "MOST_WEIGHTS", 3 * size)
    done = publish.publish(weights=True)
    assert done.weights == ["c3", "e5", "d4"]
    assert done.left_out == ["b2", "a1"]
    names = {name.split("/")[0] for name in registered(paths.checkpoints())}
    assert names == {"c3", "d4", "e5"}
    assert len(registered(paths.results())) == 15  # evaluations of all of them
    again = publish.publish(weights=True)
    assert (again.weights, again.left_out) == ([], ["b2", "a1"])


def test_too_many_results_are_refused_before_anything_is_written(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_network("a1")
    monkeypatch.setattr(publish, "MOST_RESULTS", 1000)
    with pytest.raises(InputError, match="MB are published: give --profile"):
        publish.publish()
    assert not paths.results().exists()


def test_a_network_that_was_trained_again_replaces_the_published_one(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_network("a1")
    make_evaluation("a1", "outcomes-456789ef.nc.xz")
    publish.publish()
    for path in paths.runs("a1").glob("*"):
        path.unlink()
    make_network("a1", weights=200)
    # until it is published the two are not mixed
    assert store.places("a1", "network.json") == [paths.results("a1") / "network.json"]
    with pytest.raises(InputError, match="trained again"), store.lock("a1"):
        pass
    monkeypatch.setenv("LTQ_FRESH", "1")
    assert store.places("a1", "network.json") == [paths.runs("a1") / "network.json"]
    monkeypatch.delenv("LTQ_FRESH")
    publish.publish()
    # what the old weights predicted is gone
    assert sorted(path.name for path in paths.results("a1").glob("*")) == [
        "network.json", "outcomes-0123abcd.nc.xz", "stage2.json",
    ]  # fmt: skip
    assert len(registered(paths.results())) == 3


def test_files_of_other_kinds_are_not_published(home: Path) -> None:
    make_network("a1")
    for name in (".lock", "train-state.safetensors", "notes.txt"):
        (paths.runs("a1") / name).write_text("x")
    publish.publish(weights=True)
    published = {path.name for path in (home / "results" / "a1").glob("*")}
    assert published == {"network.json", "stage2.json", "outcomes-0123abcd.nc.xz"}
    assert records.read_record(paths.results("a1") / "network.json")["digest"] == "a1"
