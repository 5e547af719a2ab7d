"""Configurations: what is refused, and what the digest that names a run depends on."""

import hashlib
import json
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ltqlib.first.config import LOSSES, PROFILES, SAMPLERS, RunConfig, from_dict, from_profile
from ltqlib.first.errors import InputError

CONFIGS = st.builds(
    RunConfig,
    profile=st.sampled_from(sorted(PROFILES)),
    data=st.sampled_from(["cifar10", "digits"]),
    imbalance_factor=st.floats(1e-4, 1),
    seed=st.integers(0, 1_000),
    class_order=st.just(()) | st.permutations(range(10)).map(tuple),
    width=st.floats(1 / 64, 2),
    sampler=st.sampled_from(SAMPLERS),
    loss=st.sampled_from(LOSSES),
)


@pytest.mark.parametrize(
    ("factor", "says"),
    [
        pytest.param(100, "use its reciprocal 0.01$", id="n_max/n_min"),
        pytest.param(2.0, "use its reciprocal 0.5$", id="above-one"),
        pytest.param(0.0, r"not in \(0, 1\]", id="zero"),
        pytest.param(-0.1, r"not in \(0, 1\]", id="negative"),
        pytest.param(float("nan"), "not a number", id="nan"),
        pytest.param(float("inf"), "not a number", id="infinite"),
        pytest.param("0.1", "not a number", id="text"),
        pytest.param(True, "not a number", id="bool"),
    ],
)
def test_imbalance_factor_outside_0_to_1_is_refused(factor, says):
    with pytest.raises(InputError, match=says):
        from_profile("smoke", imbalance_factor=factor)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        pytest.param({"depth": 3}, "unknown configuration key 'depth'", id="key"),
        pytest.param({"data": "cifar100"}, "data source 'cifar100' is unknown", id="source"),
        pytest.param({"data": "folder:"}, "data source 'folder:' is unknown", id="folder-no-path"),
        pytest.param({"sampler": "balanced"}, "'balanced' is unknown.*square-root", id="sampler"),
        pytest.param({"loss": "focal"}, "'focal' is unknown.*ldam-drw", id="loss"),
        pytest.param({"arch": "alexnet"}, "'alexnet' is unknown.*vgg16", id="arch"),
        pytest.param({"width": 0}, "width is 0: it must be a number of at least", id="width"),
        pytest.param({"width": "1"}, "width is '1': it must be a number", id="width-text"),
        pytest.param({"lr": float("nan")}, "lr is nan: it must be a number", id="lr"),
        pytest.param({"epochs": -1}, "epochs is -1: it must be a whole number", id="epochs"),
        pytest.param({"epochs": 1.5}, "epochs is 1.5: it must be a whole number", id="half-epoch"),
        pytest.param({"warmup": 7}, "warmup is 7.* at most 1", id="warmup"),
        pytest.param({"augment": "flip"}, "'flip' is unknown.*crop-flip", id="augment"),
        pytest.param({"class_order": (0, 0, 1)}, "not a permutation", id="class-twice"),
        pytest.param({"class_order": (1, 2, 3)}, "not a permutation", id="class-left-out"),
    ],
)
def test_bad_values_are_refused_by_name(changes, says):
    with pytest.raises(InputError, match=says):
        from_profile("smoke", **changes)


def test_unknown_profile_is_refused_with_those_that_exist():
    with pytest.raises(InputError, match="'desktop' is unknown: use one of smoke, laptop, paper"):
        from_profile("desktop")


@given(CONFIGS)
def test_public_fields_make_the_same_configuration(config):
    stored = json.loads(json.dumps(config.public()))
    again = from_dict(dict(reversed(stored.items())))
    assert again == config
    assert again.digest() == config.digest()


def test_only_fields_that_differ_from_their_default_count():
    told = b'{"data": "digits", "profile": "smoke"}'
    expected = hashlib.sha256(told).hexdigest()[:12]
    assert RunConfig("smoke", "digits").digest() == expected
    assert RunConfig("smoke", "digits", imbalance_factor=1, momentum=0.9).digest() == expected


def test_a_field_added_later_leaves_digests_as_they_are():
    @dataclass(frozen=True)
    class Later(RunConfig):
        added: str = "as before"

    published = RunConfig("smoke", "digits", seed=3)
    assert Later("smoke", "digits", seed=3).digest() == published.digest()
    assert Later("smoke", "digits", seed=3, added="new").digest() != published.digest()


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"imbalance_factor": 0.5},
        {"class_order": (1, 0, 2, 3, 4, 5, 6, 7, 8, 9)},
        {"epochs": 1},
        {"loss": "ldam-drw"},
        {"data": "cifar10"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_decides_the_weights_changes_the_digest(changes):
    assert from_profile("smoke", **changes).digest() != from_profile("smoke").digest()


def test_of_a_folder_source_only_the_name_counts_and_shows():
    here, there, other = (
        from_profile("smoke", data=f"folder:{path}")
        for path in ("/home/one/birds", "elsewhere/birds", "/home/one/fish")
    )
    assert here.digest() == there.digest()
    assert here.digest() != other.digest()
    assert here.public()["data"] == "folder:birds"


def test_one_and_one_point_zero_are_the_same_run():
    assert from_profile("smoke", lr=1).digest() == from_profile("smoke", lr=1.0).digest()
