"""Published evaluations computed again from the checkpoints, here: how many images differ."""

import functools
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from torture_tools import many

import ltqlib as ltq
from ltqlib import engine
from ltqlib.config import from_dict
from ltqlib.evidence import store
from ltqlib.evidence.arrays import read_dataset
from ltqlib.evidence.provenance import provenance
from ltqlib.experiment.outcomes import predict
from ltqlib.experiment.trained import Trained
from ltqlib.quantization import methods

ROOT = Path(__file__).parents[2]
CIFAR = ROOT / "data" / "cifar-10-batches-bin" / "test_batch.bin"
# Of a whole evaluation, in images: what rounding of another order of sums may change. Predictions
# whose margin is below it are settled in float32 on the machine that evaluates.
BOUND = 0.001
OUTCOMES = "outcomes-*.nc.xz"
ASKED = (("baseline", "w-tensor"), ("crt", "w-tensor"), ("logit-adjusted", "w-tensor"))


@functools.cache
def evaluations() -> list[tuple[Path, dict[str, str]]]:
    """Published evaluations of all test images whose checkpoint is published, and their origin."""
    networks = sorted(path.name for path in (ROOT / "checkpoints").iterdir() if path.is_dir())
    paths = [path for name in networks for path in (ROOT / "results" / name).glob(OUTCOMES)]
    read = [(path, read_dataset(path).attrs) for path in sorted(paths)]
    return [(path, attrs) for path, attrs in read if attrs["images"] == "cifar10/test"]


def published(classifier: str, method: str) -> tuple[Path, Trained]:
    """An evaluation, of another kind of machine than this if there is one, and its network."""
    kind, here = (classifier, method), provenance()["machine"].partition(",")[0]
    found = [each for each in evaluations() if (each[1]["classifier"], each[1]["method"]) == kind]
    if not found:
        pytest.skip(f"no published checkpoint with an evaluation {classifier}, {method}")
    path, _ = min(found, key=lambda each: each[1]["machine"].partition(",")[0] == here)
    record = store.find_record(path.parent.name)
    assert record is not None
    config = from_dict(record["config"])
    data = ltq.load_data("cifar10", config.imbalance_factor, config.class_order)
    return path, Trained(config, data, classifier)


@pytest.mark.parametrize(("classifier", "method"), ASKED)
def test_published_predictions(classifier, method, tally, monkeypatch):
    if not CIFAR.exists():
        pytest.skip("data/cifar-10-batches-bin is not here: nothing to compute them from")
    monkeypatch.setenv("LTQ_HOME", str(ROOT))
    path, trained = published(classifier, method)
    known = read_dataset(path)
    images = slice(0, many(500, 10_000))
    widths = known["widths"].transpose("configuration", "layer").values
    rows = [tuple(row) for row in widths.tolist() if len(set(row)) == 1 and row[0] in (32, 4)]
    at = [widths.tolist().index(list(row)) for row in rows]
    head = next(iter(trained.data.groups.values()))
    tail = tuple(label for label in range(10) if label not in head)
    reduce = engine.whole({"head": head, "tail": tail})
    test = trained.data.test
    what = f"{path.parent.name}/{path.name}, made on {known.attrs['machine']}"
    with tally("numbers", f"{what}: the same predictions here") as row:
        on = SimpleNamespace(images=test.images[images])
        found = predict(trained.graph("cpu"), methods.get(method), rows, trained, on, reduce)
        best = np.where(known["margin"] > 0, known["best_tail"], known["best_head"])
        dims = known["margin"].dims
        best = best if dims[0] == "configuration" else best.T
        same = found["predicted"] == best[at][:, images]
        row.saw("the same", int(same.sum()))
        differing = int((~same).sum())
        row.saw("another class", differing)
        if differing > BOUND * same.size:
            row.failed(f"{differing} of {same.size} differ")
