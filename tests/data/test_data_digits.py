"""The digits: balanced, enlarged, and as their constants say."""

import numpy as np

from ltqlib.data import fingerprint, load_data


def test_the_constants_are_those_of_the_images(digits):
    assert fingerprint(*digits.train, *digits.test) == digits.fingerprint
    assert tuple(np.bincount(digits.train[1])) == digits.counts == (120,) * 10
    assert tuple(np.bincount(digits.test[1])) == digits.test_counts == (50,) * 10


def test_digits_are_enlarged(digits):
    assert digits.train[0].shape == (1_200, 32, 32, 3)
    assert digits.test[0].shape == (500, 32, 32, 3)
    assert digits.train[0].dtype == digits.test[0].dtype == np.uint8
    assert digits.train[1].dtype == digits.test[1].dtype == np.int64


def test_train_and_test_share_no_image(digits):
    train, test = (
        {image.tobytes() for image in images} for images in (digits.train[0], digits.test[0])
    )
    assert not train & test


def test_the_long_tail_is_cut_from_them(digits):
    data = load_data("digits", imbalance_factor=0.1, class_order=range(9, -1, -1))
    assert data.counts == tuple(np.bincount(data.labels))
    assert (data.counts[9], data.counts[0]) == (120, 12)
    assert np.array_equal(data.images, digits.train[0][data.indices])
    assert np.array_equal(data.test.images, digits.test[0])
