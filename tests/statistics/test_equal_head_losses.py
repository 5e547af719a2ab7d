"""The tail's loss at equal head accuracy as a table."""

import numpy as np
import pytest
import xarray as xr

from ltqlib.statistics.losses import GROUP, lost_at_equal_head


@pytest.fixture
def outcomes() -> xr.Dataset:
    """One model as it is (32 bits), moved along its curve (8), and with noise (4)."""
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 300)  # head 0 and 1, tail 2 and 3
    logits = 2.0 * np.eye(4)[labels] + generator.normal(size=(1200, 4))
    moved = logits + np.array([0.9, 0.9, 0, 0])
    noisy = logits + 1.2 * generator.normal(size=logits.shape)
    stacked = np.stack([logits, moved, noisy])
    head, tail = stacked[..., :2], stacked[..., 2:]
    margin = tail.max(-1) - head.max(-1)
    best_head, best_tail = head.argmax(-1), 2 + tail.argmax(-1)
    right = np.where(margin > 0, best_tail, best_head) == labels
    found = {"best_head": best_head, "best_tail": best_tail, "margin": margin}
    return xr.Dataset(
        {name: (("bits", "image"), values) for name, values in (found | {"right": right}).items()},
        {
            "bits": [32, 8, 4],
            "label": ("image", labels),
            "group": ("image", np.where(labels < 2, "head", "tail")),
            "half": ("image", np.where(np.arange(1200) % 2, "choose", "judge")),
        },
    )


def test_a_moved_operating_point_is_no_loss_and_noise_is_one(outcomes: xr.Dataset) -> None:
    plain = outcomes.right.astype(int)
    tail = (plain.sel(bits=32) - plain.sel(bits=8))[outcomes.group.values == "tail"].mean()
    assert tail > 0.1  # as it is, the moved model loses much
    lost = lost_at_equal_head(outcomes).xs(GROUP, level="group")
    assert abs(lost.loc[8, "value"]) < 1e-3
    assert lost.loc[4, "low"] > 5
    assert lost.loc[32, "value"] == 0


def test_the_reference_may_be_outcomes_of_their_own(outcomes: xr.Dataset) -> None:
    own = lost_at_equal_head(outcomes.sel(bits=[8, 4]), outcomes.sel(bits=32, drop=True))
    selected = lost_at_equal_head(outcomes).drop(index=32, level="bits")
    np.testing.assert_allclose(own["value"], selected["value"])
    np.testing.assert_allclose(own["low"], selected["low"])
