"""``load_data``: what a long tail says of itself, natural counts, and what is refused."""

import subprocess
import sys

import numpy as np
import pytest

from ltqlib.config import from_profile
from ltqlib.data import CLASS_ORDERS, load_data
from ltqlib.errors import InputError


def test_nothing_that_loads_data_imports_torch():
    code = (
        "import sys, ltqlib.data as d; data = d.load_data('cifar10', 0.01); data.test.halves(); "
        "print([m for m in ('torch', 'sklearn', 'pandas', 'PIL') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_a_configuration_takes_what_the_data_say_of_themselves():
    data = load_data("digits", 0.1, class_order=[1, 0, 2, 3, 4, 5, 6, 7, 8, 9])
    config = from_profile("smoke", **data.configuration)
    assert (config.data, config.imbalance_factor) == ("digits", 0.1)
    assert config.class_order == data.class_order
    assert load_data("digits", 1).configuration == load_data("digits", 1.0).configuration


def test_a_long_tail_shows_what_it_is():
    shown = repr(load_data("digits", 0.1, groups="many-medium-few"))
    assert shown == (
        "LongTail('digits', IF 0.1: 486 training images of 10 classes (120 to 12); "
        "many 1, medium 7, few 2)"
    )
    assert "class order (9, 8" in repr(load_data("digits", 0.1, range(9, -1, -1)))


def test_natural_keeps_the_counts_that_a_folder_has(make_folder):
    folder = make_folder(
        {"cat": 2, "dog": 9, "elk": 5, "owl": 1}, {"cat": 1, "dog": 3, "elk": 1, "owl": 2}
    )
    data = load_data(f"folder:{folder}", imbalance_factor="natural")
    assert data.counts == (2, 9, 5, 1)
    assert data.groups == {"head": (1,), "tail": (0, 2, 3)}
    assert np.array_equal(data.indices, np.arange(17))
    assert data.images is data.full.train[0]
    assert data.test.sizes == (1, 3, 1, 2)
    made = load_data(f"folder:{folder}")
    assert made.counts == (1, 1, 1, 1)  # the smallest class is the most that all can give
    assert made.identity == data.identity


def test_natural_of_balanced_data_is_all_of_it():
    data = load_data("digits", "natural")
    assert data.counts == load_data("digits").counts
    assert np.array_equal(data.images, load_data("digits").images)
    assert data.groups == {"head": (0, 1, 2, 3, 4), "tail": (5, 6, 7, 8, 9)}


def test_the_readers_groups_reach_the_test_images():
    data = load_data("digits", groups={"round": ["0", "6", 8, "9"]})
    assert data.groups == {"round": (0, 6, 8, 9), "other": (1, 2, 3, 4, 5, 7)}
    assert data.test.groups == data.groups
    assert data.test.group_of_class[6:8] == ("round", "other")


def test_a_tail_that_a_folder_cannot_have_is_refused(make_folder):
    with pytest.raises(InputError, match=r"leaves the rarest class.* use at least 0.5"):
        load_data(f"folder:{make_folder()}", imbalance_factor=0.1)


@pytest.mark.parametrize("name", CLASS_ORDERS)
def test_class_orders_go_by_name(name: str) -> None:
    named = load_data("digits", 0.1, class_order=name)
    assert named.class_order == CLASS_ORDERS[name]
    assert named.counts == load_data("digits", 0.1, class_order=CLASS_ORDERS[name]).counts
