"""Splits: halves, groups, and the reader's own images."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from ltqlib.data import Split, half_mask, load_data
from ltqlib.data.split import HALVES
from ltqlib.errors import InputError

IMAGES = np.random.default_rng(0).integers(0, 256, (9, 8, 6, 3), dtype=np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 0, 0])


def test_halves_are_the_fixed_mask_of_the_labels():
    test = load_data("digits").test
    choose, judge = test.halves()
    mask = half_mask(test.labels)
    for half, chosen in ((choose, mask), (judge, ~mask)):
        assert np.array_equal(half.images, test.images[chosen])
        assert np.array_equal(half.labels, test.labels[chosen])
        assert len(half) == len(half.labels) == 250
        assert half.sizes == tuple(np.bincount(half.labels))
    assert (choose.half, judge.half) == HALVES
    assert {choose.identity, judge.identity} == {"digits/test/choose", "digits/test/judge"}


def test_halving_reads_no_image():
    def read():
        raise AssertionError("read")

    test = Split("test", "x/test", ("a", "b"), (5, 1), (), {}, read)
    choose, judge = test.halves()
    assert (choose.sizes, judge.sizes) == ((2, 0), (3, 1))


def test_a_half_is_not_halved_again():
    with pytest.raises(InputError, match="is a half already"):
        load_data("digits").test.halves()[0].halves()


def test_a_tiny_test_set_keeps_its_single_images_for_judging():
    split = Split.of(IMAGES[:4], [0, 1, 2, 0])
    choose, judge = split.halves()
    assert choose.sizes == (1, 0, 0)
    assert judge.sizes == (1, 1, 1)
    with pytest.raises(InputError, match="no class has two images"):
        Split.of(IMAGES[:3], [0, 1, 2]).halves()


def test_the_readers_images():
    split = Split.of(IMAGES, LABELS, ["a", "b", "c", "never seen"], counts=[1, 9, 2, 1], name="own")
    assert split.classes == ("a", "b", "c", "never seen")
    assert split.sizes == (5, 2, 2, 0)
    assert split.groups == {"head": (1,), "tail": (0, 2, 3)}
    assert split.group_of_image.tolist()[:3] == ["tail", "head", "tail"]
    assert np.array_equal(split.images, IMAGES)
    assert split.labels.dtype == np.int64
    assert repr(split) == "Split('own': 9 images of 4 classes)"


def test_what_the_readers_images_are_is_their_identity():
    one, same = Split.of(IMAGES, LABELS, name="one"), Split.of(IMAGES.copy(), LABELS.tolist())
    changed = IMAGES.copy()
    changed.flat[7] ^= 1
    others = [Split.of(changed, LABELS), Split.of(IMAGES, LABELS[::-1].copy())]
    assert one.identity == same.identity
    assert len({split.identity for split in (one, *others)}) == 3


def test_without_counts_there_are_no_groups():
    split = Split.of(IMAGES, LABELS)
    assert split.groups == {}
    assert set(split.group_of_image) == {""}
    own = Split.of(IMAGES, LABELS, groups={"rare": [2]})
    assert own.groups == {"rare": (2,), "other": (0, 1)}


def test_grey_images_and_tensors_are_taken():
    grey = Split.of(IMAGES[..., 0], LABELS).images
    assert np.array_equal(grey, np.repeat(IMAGES[..., :1], 3, axis=3))
    tensors = Split.of(torch.from_numpy(IMAGES), torch.from_numpy(LABELS))
    assert tensors.identity == Split.of(IMAGES, LABELS).identity


def test_more_than_256_classes():
    labels = np.arange(300).repeat(2)
    split = Split.of(np.zeros((600, 8, 8, 3), np.uint8), labels)
    assert split.sizes == (2,) * 300
    assert np.array_equal(split.halves()[0].labels, np.arange(300))


BAD: dict[str, tuple[Callable[[], Split], str]] = {
    "float images": (lambda: Split.of(IMAGES / 255, LABELS), "images are float64: give uint8"),
    "channels first": (lambda: Split.of(IMAGES.transpose(0, 3, 1, 2), LABELS), "permute"),
    "one image": (lambda: Split.of(IMAGES[0, 0], LABELS), "give (N, H, W, 3)"),
    "no image": (lambda: Split.of(IMAGES[:0], LABELS[:0]), "give (N, H, W, 3)"),
    "four channels": (lambda: Split.of(np.zeros((9, 8, 8, 4), np.uint8), LABELS), "(9, 8, 8, 4)"),
    "ragged images": (lambda: Split.of([[1], [1, 2]], LABELS), "images are no array"),
    "images None": (lambda: Split.of(None, LABELS), "images are object"),
    "tensor with gradient": (
        lambda: Split.of(torch.zeros(9, 8, 8, 3, requires_grad=True), LABELS),
        "images are no array",
    ),
    "too few labels": (lambda: Split.of(IMAGES, LABELS[:8]), "9 images have 8 labels"),
    "float labels": (lambda: Split.of(IMAGES, LABELS * 1.0), "labels are float64"),
    "labels with NaN": (lambda: Split.of(IMAGES, np.full(9, np.nan)), "labels are float64"),
    "text labels": (lambda: Split.of(IMAGES, ["cat"] * 9), "give whole numbers"),
    "ragged labels": (lambda: Split.of(IMAGES, [[1], [1, 2]]), "labels are no array"),
    "one-hot labels": (lambda: Split.of(IMAGES, np.eye(9, dtype=int)), "of shape (9, 9)"),
    "negative label": (lambda: Split.of(IMAGES, LABELS - 1), "labels go from -1 to 1"),
    "huge label": (lambda: Split.of(IMAGES, LABELS + 2**40), "give 0 to the number"),
    "too few classes": (lambda: Split.of(IMAGES, LABELS, ["a", "b"]), "label 2 has no class"),
    "one class": (lambda: Split.of(IMAGES, LABELS * 0, ["a"]), "at least two names"),
    "names twice": (lambda: Split.of(IMAGES, LABELS, ["a", "b", "a"]), "all different"),
    "classes as text": (lambda: Split.of(IMAGES, LABELS, "abc"), "no list of names"),
    "classes as numbers": (lambda: Split.of(IMAGES, LABELS, [0, 1, 2]), "no list of names"),
    "counts too short": (lambda: Split.of(IMAGES, LABELS, counts=[1, 2]), "each of the 3 classes"),
    "counts of zero": (lambda: Split.of(IMAGES, LABELS, counts=[1, 2, 0]), "training images of"),
    "groups without counts": (lambda: Split.of(IMAGES, LABELS, groups="head-tail"), "give counts"),
}


@pytest.mark.parametrize("case", BAD)
def test_arrays_that_make_no_sense_are_refused(case):
    make, says = BAD[case]
    with pytest.raises(InputError) as caught:
        make()
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
