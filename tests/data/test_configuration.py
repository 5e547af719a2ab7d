"""What a configuration says of its data: their identity, never a place, and how long their tail."""

import json

import pytest

from ltqlib.config import from_dict, from_profile
from ltqlib.errors import InputError

BIRDS = "folder:0123456789abcdef"


def test_digests_of_cifar10_and_digits_are_those_of_the_published_networks() -> None:
    assert from_profile("laptop", imbalance_factor=0.01).digest() == "d04090dd634d"
    assert from_profile("laptop", imbalance_factor=0.01, seed=1).digest() == "e17c7d4dba46"
    assert from_profile("laptop", imbalance_factor=0.02).digest() == "c9123d6c9177"
    assert from_profile("laptop", imbalance_factor=0.1).digest() == "52a3819289fb"


def test_a_folder_is_named_by_its_contents() -> None:
    config = from_profile("laptop", data=BIRDS, imbalance_factor="natural", epochs=3)
    stored = json.loads(json.dumps(config.public()))
    assert stored["data"] == BIRDS
    assert stored["imbalance_factor"] == "natural"
    assert from_dict(stored) == config
    assert "natural seed 0" in config.label()


def test_a_label_tells_the_recipe_as_far_as_it_is_not_the_profile_s() -> None:
    assert from_profile("laptop", seed=2).label() == "laptop vgg16 x0.25 balanced seed 2"
    assert (
        from_profile("resnet", imbalance_factor=0.01).label() == "resnet resnet32 x1 IF 0.01 seed 0"
    )
    recipe = {"mixup": 1, "sam": 0.05, "loss": "ldam-drw", "epochs": 12}
    told = from_profile("laptop", imbalance_factor=0.1, **recipe).label()
    assert told == "laptop vgg16 x0.25 IF 0.1 seed 0 epochs 12 loss ldam-drw mixup 1 sam 0.05"


@pytest.mark.parametrize(
    "place", ["folder:birds", "folder:/home/one/birds", "folder:0123456789ABCDEF", f"{BIRDS}\n"]
)
def test_a_place_is_refused(place: str) -> None:
    with pytest.raises(InputError, match=r"names a folder by its contents") as caught:
        from_profile("laptop", data=place)
    assert "\n" not in str(caught.value)


def test_natural_and_every_factor_are_different_networks() -> None:
    factors = ("natural", 1, 0.1, 0.02)
    configs = [from_profile("smoke", imbalance_factor=factor) for factor in factors]
    assert len({config.digest() for config in configs}) == len(factors)
    assert configs[1].digest() == from_profile("smoke").digest()


def test_natural_takes_no_class_order() -> None:
    with pytest.raises(InputError, match="own counts rank the classes"):
        from_profile("smoke", imbalance_factor="natural", class_order=tuple(range(9, -1, -1)))


@pytest.mark.parametrize("factor", ["Natural", "", "0.1", None, (0.1,)])
def test_other_words_are_no_factor(factor: object) -> None:
    with pytest.raises(InputError, match="or 'natural' for the data's own counts"):
        from_profile("smoke", imbalance_factor=factor)
