"""What is published: whole, complete, small, and the weights predict what the outcomes say."""

import hashlib
import lzma
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import ltqlib as ltq
from ltqlib import paths
from ltqlib.config import from_dict
from ltqlib.evidence import publish, store
from ltqlib.evidence.arrays import read_dataset
from ltqlib.evidence.records import read_record

ROOT = Path(__file__).parent.parent
RESULTS, CHECKPOINTS = ROOT / "results", ROOT / "checkpoints"
NETWORKS = sorted(path.parent.name for path in RESULTS.glob("*/network.json"))
WEIGHTS = sorted(path.parent.name for path in CHECKPOINTS.glob("*/model.safetensors"))

RECORDS = (store.NETWORK, store.STAGE2)

every_network = pytest.mark.parametrize("digest", NETWORKS)


@pytest.fixture(autouse=True)
def as_published(monkeypatch: pytest.MonkeyPatch) -> None:
    """This checkout, as a fresh clone sees it."""
    monkeypatch.setenv("LTQ_HOME", str(ROOT))
    monkeypatch.delenv("LTQ_FRESH", raising=False)


@pytest.mark.parametrize("folder", [RESULTS, CHECKPOINTS], ids=lambda folder: folder.name)
def test_the_registry_is_that_of_the_files(folder: Path) -> None:
    files = sorted(path for path in folder.glob("*/*") if path.is_file())
    told = {
        path.relative_to(folder).as_posix(): {hashlib.sha256(path.read_bytes()).hexdigest()}
        for path in files
    }
    assert store.registry(folder) == told


def test_what_is_published_is_small() -> None:
    for folder, most in ((RESULTS, publish.MOST_RESULTS), (CHECKPOINTS, publish.MOST_WEIGHTS)):
        assert sum(path.stat().st_size for path in folder.glob("*/*")) <= most


@every_network
def test_networks_are_complete_and_named_by_their_configuration(digest: str) -> None:
    record, stage2 = (read_record(RESULTS / digest / name) for name in RECORDS)
    config = from_dict(record["config"])
    assert config.digest() == digest == record["digest"] == stage2["digest"]
    data = ltq.load_data(config.data, config.imbalance_factor, config.class_order)
    assert record["data"]["fingerprint"] == data.fingerprint
    assert record["data"]["counts"] == list(data.counts)
    history, passes = record["training"]["history"], record["training"]["epochs"]
    assert history["epoch"] == list(range(1, passes + 1))
    assert all(len(column) == passes for column in history.values())
    for origin in (record["provenance"], stage2["provenance"]):
        assert {"created", "commit", "dirty", "packages", "machine", "seconds"} <= set(origin)


@every_network
def test_evaluations_open_with_xarray_alone(digest: str) -> None:
    record = read_record(RESULTS / digest / store.NETWORK)
    for path in sorted((RESULTS / digest).glob("*.nc.xz")):
        ours = read_dataset(path)
        with xr.open_dataset(lzma.open(path), engine="h5netcdf") as plain:
            stored = plain.load()
        for moved in [name for name in stored if name.endswith("_from_first")]:
            first, *others = stored[moved].values
            whole = [first, *(first + other for other in others)]
            stored[moved.removesuffix("_from_first")] = (stored[moved].dims, whole)
        xr.testing.assert_equal(stored[list(ours)], ours)
        assert ours["layer"].values.tolist() == list(record["layers"])
        assert {"commit", "created", "seconds", "packages"} <= set(ours.attrs)
        if "widths" in ours:  # metrics of layers have none
            rows = ours["widths"].values
            assert len(np.unique(rows, axis=0)) == len(rows)


@pytest.mark.parametrize("digest", WEIGHTS)
def test_weights_are_those_of_the_records(digest: str) -> None:
    record, stage2 = (read_record(RESULTS / digest / name) for name in RECORDS)
    told = {store.MODEL: record["training"]["weights"], store.HEADS: stage2["weights"]}
    for name, sha256 in told.items():
        content = (CHECKPOINTS / digest / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == sha256


@pytest.mark.slow
@pytest.mark.parametrize("digest", WEIGHTS[:2])
def test_weights_predict_what_the_outcomes_say(
    digest: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import torch

    from ltqlib.experiment.trained import Trained

    monkeypatch.setattr(paths, "runs", lambda digest="": tmp_path / digest)
    config = from_dict(read_record(RESULTS / digest / store.NETWORK)["config"])
    data = ltq.load_data(config.data, config.imbalance_factor, config.class_order)
    if config.data == "cifar10" and not list(paths.data().glob("cifar-10*")):
        pytest.skip("the images are not here, and a test does not download them")
    chosen = slice(None, None, len(data.test) // 300)
    pixels = torch.from_numpy(data.test.images[chosen]).permute(0, 3, 1, 2)
    for classifier in ("baseline", "crt"):
        trained = Trained(config, data, classifier)
        found = ltq.evaluate(ltq.Networks(data, (config,), classifier), bits=[32])
        with torch.inference_mode():
            expected = trained.load("cpu")(pixels).argmax(1).numpy()
        predicted = found["predicted"].isel(seed=0, bits=0, image=chosen)
        # another batch rounds differently: an image between two classes may tip
        assert (predicted.values != expected).sum() <= 1
