"""Data as in the first edition, and as in the records of networks that are trained."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ltqlib.config import from_dict
from ltqlib.config import from_profile as new_profile
from ltqlib.data import Batches, Labels, half_mask, load_data, nested_subset
from ltqlib.data import digits as digits_module
from ltqlib.data.cifar10 import cifar10
from ltqlib.first import data as first
from ltqlib.first import longtail, records
from ltqlib.first.config import from_profile as first_profile

ROOT = Path(__file__).parents[2]
GRID = Path(os.environ.get("LTQ_GRID", ROOT.parent / "shared" / "grid"))
RECORDS = sorted(GRID.glob("*/data.json"))


@pytest.mark.parametrize("sampler", ["instance", "square-root", "class"])
@pytest.mark.parametrize("augment", ["crop-flip", "crop", "none"])
def test_batches_are_drawn_bit_for_bit(sampler, augment):
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (60, 12, 10, 3), dtype=np.uint8)
    labels = generator.permutation(np.repeat(np.arange(4), [30, 15, 10, 5]))
    told = {"batch_size": 16, "sampler": sampler, "augment": augment, "seed": 5}
    ours, theirs = (
        room.Batches(images, labels, device=torch.device("cpu"), **told)
        for room in (first, type("new", (), {"Batches": Batches}))
    )
    for epoch in (0, 3):
        for one, other in zip(ours.epoch(epoch), theirs.epoch(epoch), strict=True):
            assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_digits_are_the_same():
    source, theirs = digits_module.digits(), first.load("digits")
    assert source.fingerprint == theirs.fingerprint()
    assert np.array_equal(source.test[0], theirs.test_images)


def test_a_folder_of_32_pixels_has_the_same_fingerprint(tiny_folder):
    ours, theirs = load_data(f"folder:{tiny_folder}"), first.load(f"folder:{tiny_folder}")
    assert ours.fingerprint == theirs.fingerprint()


@given(
    st.sampled_from(["smoke", "laptop", "paper", "resnet"]),
    st.floats(1e-4, 1),
    st.integers(0, 99),
    st.just(()) | st.permutations(range(10)).map(tuple),
)
def test_digests_of_configurations_are_as_they_were(profile, factor, seed, order):
    told = {"imbalance_factor": factor, "seed": seed, "class_order": order}
    told |= {"epochs": 200, "train_images": 600_000}  # in these the profile of laptop changed
    assert new_profile(profile, **told).digest() == first_profile(profile, **told).digest()


@pytest.fixture(scope="module")
def cifar10_labels() -> tuple[Labels, Labels] | None:
    """Training and test labels of CIFAR-10, where it is here."""
    if not (ROOT / "data" / "cifar-10-batches-bin").is_dir():
        return None
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LTQ_HOME", str(ROOT))
        source = cifar10()
        return source.train[1], source.test[1]


@pytest.mark.skipif(not RECORDS, reason="no records of trained networks here")
@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.parent.name)
def test_the_records_of_trained_networks(path, cifar10_labels):
    record = records.read(path)
    config, payload = from_dict(json.loads(json.dumps(record["config"]))), record["payload"]
    assert config.digest() == path.parent.name
    data = load_data(config.data, config.imbalance_factor, config.class_order)
    assert data.fingerprint == payload["fingerprint"]
    assert list(data.counts) == payload["counts"]
    assert list(data.classes) == payload["classes"]
    labels = records.unpack(payload["test_labels"])
    assert np.array_equal(half_mask(labels), records.unpack(payload["select"]).astype(bool))
    assert np.array_equal(half_mask(labels), longtail.select_mask(labels))
    if cifar10_labels is None:
        return
    train, test = cifar10_labels
    indices = nested_subset(train, data.counts)
    assert np.array_equal(indices, records.unpack_indices(payload["train_indices"]))
    assert np.array_equal(test, labels)
