"""The published checkpoints: whole, those of their records, predicting what these say."""

import hashlib
from functools import lru_cache

import numpy as np
import pytest
from PIL import Image

from ltqlib.first import data, models, paths, records
from ltqlib.first.config import from_dict
from ltqlib.first.publish import registry
from ltqlib.first.steps import common

DIGESTS = sorted(path.name for path in paths.checkpoints().glob("*") if path.is_dir())
IMAGES_A_CLASS = 30


def published(digest):
    """The records that a checkpoint needs."""
    return {
        step: records.read(paths.results(digest) / f"{step}.json")
        for step in ("data", "train", "decouple")
    }


@lru_cache(maxsize=1)
def some_test_images(folder):
    """(positions in the test set, images) of a few images of each class of an image folder."""
    positions, images, start = [], [], 0
    for files in data._list_images(folder, "test").values():
        for number in range(0, len(files), len(files) // IMAGES_A_CLASS):
            positions.append(start + number)
            with Image.open(files[number]) as image:
                images.append(np.asarray(image.convert("RGB")))
        start += len(files)
    return np.array(positions), np.stack(images)


def test_there_are_checkpoints_and_they_are_small() -> None:
    sizes = [path.stat().st_size for path in paths.checkpoints().rglob("*") if path.is_file()]
    assert len(DIGESTS) >= 20
    assert sum(sizes) < 50e6


def test_the_registry_is_that_of_the_files() -> None:
    assert paths.checkpoints("registry.txt").read_text() == registry()


@pytest.mark.parametrize("digest", DIGESTS)
def test_weights_are_those_of_the_record(digest: str) -> None:
    found = published(digest)
    for name, step in (("model.safetensors", "train"), ("heads.safetensors", "decouple")):
        content = paths.checkpoints(f"{digest}/{name}").read_bytes()
        assert hashlib.sha256(content).hexdigest() == found[step]["payload"]["checkpoint"]


@pytest.mark.parametrize("digest", DIGESTS)
@pytest.mark.parametrize("model", ["baseline", "crt"])
def test_a_checkpoint_predicts_what_its_record_says(
    digest: str, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = published(digest)
    config = from_dict(found["data"]["config"])
    folder = paths.data(config.data.removeprefix("folder:"))
    monkeypatch.setattr(paths, "weights", lambda digest, name: paths.checkpoints(digest) / name)
    network = common.folded(config, found, "cpu", model)
    if not folder.is_dir():
        pytest.skip(f"the images are not here ({config.data})")
    positions, images = some_test_images(folder)
    predicted = models.predict_logits(network, images).argmax(1)
    recorded = records.unpack(found["decouple"]["payload"]["predictions"][model])[positions]
    # folding and another batch round differently: an image between two classes may tip
    assert (predicted != recorded).sum() <= 0.01 * len(images)
