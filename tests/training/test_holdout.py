"""Images kept away from training: stratified, fixed, and really away."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ltqlib.config import from_profile
from ltqlib.data import load_data
from ltqlib.data.heldout import held_out
from ltqlib.errors import InputError
from ltqlib.training import decouple_network, train_network, training_part

CPU = torch.device("cpu")


@given(
    counts=st.lists(st.integers(2, 60), min_size=2, max_size=6),
    share=st.floats(0.01, 0.5, exclude_max=True),
    seed=st.integers(0, 99),
)
def test_every_class_gives_its_share_and_keeps_some(counts, share, seed):
    labels = np.repeat(np.arange(len(counts)), counts)
    np.random.default_rng(seed).shuffle(labels)
    mask = held_out(labels, share)
    found = np.bincount(labels[mask], minlength=len(counts))
    assert found.tolist() == [max(1, round(share * n)) for n in counts]
    assert (found < counts).all()


def test_the_draw_is_fixed(digits):
    assert (held_out(digits.labels, 0.1) == held_out(digits.labels, 0.1)).all()


def test_without_a_share_everything_is_trained_on(digits):
    part = training_part(digits, 0.0)
    assert not held_out(digits.labels, 0.0).any()
    assert part.counts == digits.counts
    assert len(part.images) == sum(digits.counts)
    with pytest.raises(InputError, match="holdout 0"):
        digits.held_out(0.0)


def test_a_class_of_one_image_cannot_give_it():
    with pytest.raises(InputError, match="class 1 with 1 image"):
        held_out(np.array([0, 0, 0, 1]), 0.1)


def test_the_parts_are_the_whole(digits):
    part, split = training_part(digits, 0.2), digits.held_out(0.2)
    assert tuple(np.add(part.counts, split.sizes)) == digits.counts
    assert split.counts == part.counts
    assert split.groups == digits.groups
    both = np.concatenate([part.images, split.images])
    order = [np.lexsort(images.reshape(len(images), -1).T) for images in (both, digits.images)]
    assert (both[order[0]] == digits.images[order[1]]).all()


def test_what_is_held_out_is_known_before_an_image_is_read(home):
    splits = [
        load_data("cifar10", f).held_out(s) for f, s in ((0.01, 0.2), (0.01, 0.1), (0.1, 0.2))
    ]
    assert splits[0].sizes == (1000, 599, 359, 215, 129, 77, 46, 28, 17, 10)
    assert splits[0].counts[-1] == 40
    assert len({split.identity for split in splits}) == 3
    with pytest.raises(InputError, match="holdout 1"):
        load_data("cifar10", 0.01).held_out(1)


def test_no_stage_reads_an_image_that_is_held_out(digits):
    """Other pixels in the images held out change nothing."""
    config = from_profile("smoke", imbalance_factor=0.1, width=1 / 32, epochs=2, holdout=0.3)
    network, result = train_network(config, digits, CPU)
    heads = decouple_network(config, digits, network, CPU)
    images = digits.images.copy()
    images[held_out(digits.labels, 0.3)] = 255
    changed = type(digits)(**{k: getattr(digits, k) for k in digits.__dataclass_fields__})
    changed.__dict__.update(images=images, labels=digits.labels)
    again, other = train_network(config, changed, CPU)
    assert [r["loss"] for r in result["history"]] == [r["loss"] for r in other["history"]]
    for name, value in network.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    for method, head in decouple_network(config, changed, again, CPU).items():
        assert torch.equal(head["weight"], heads[method]["weight"]), method


def test_the_holdout_is_part_of_the_digest():
    plain = from_profile("smoke")
    assert from_profile("smoke", holdout=0).digest() == plain.digest()
    assert from_profile("smoke", holdout=0.1).digest() != plain.digest()
