"""Remembered losses are those of the outcomes; a repair is one draw of the library's."""

import numpy as np
import pandas as pd
import pytest
from small_experiment import Experiment

import ltqlib as ltq
from ltqlib.experiment import repaired
from ltqlib.statistics import both_losses, outcomes_of
from ltqlib.statistics.losses import GROUP


def test_losses_are_those_of_the_outcomes(at_home: Experiment) -> None:
    found = repaired({"crt": at_home.crt}, bits=[8, 4]).sel(model="crt")
    outcomes = ltq.evaluate(at_home.crt, bits=[32, 8, 4])
    lost = outcomes.right.sel(bits=32) - outcomes.right.sel(bits=[8, 4])
    plain = found.sel(repair="as it is")
    assert (plain.lost == lost).all()
    told = both_losses(plain)
    pd.testing.assert_frame_equal(told.drop(GROUP, level="group"), ltq.estimate(lost))
    equal = ltq.lost_at_equal_head(outcomes_of(ltq.logits(at_home.crt, bits=[32, 8, 4])))
    # logits are kept to a 64th there, so that an image may stand on the other side of an offset
    np.testing.assert_allclose(told.of(GROUP)["value"], equal["value"][1:], atol=0.5)


def test_repairs_are_draws_of_the_library_s_repair(at_home: Experiment) -> None:
    one = at_home.first
    found = repaired(one, bits=[4]).sel(bits=4).isel(seed=0)
    logits = ltq.logits(one, bits=[32, 4])
    right = (logits.argmax("class") == logits.label).astype(float)
    after = ltq.repair(logits, images=250, draws=1, seed=one.seeds[0])
    lost = (right.sel(bits=32) - after.sel(bits=4)).isel(seed=0)
    # logits are kept to a 64th there
    assert (found.lost.sel(repair="test images") != lost).mean() < 0.02
    assert list(found.repair.values[-2:]) == ["training images", "balanced training"]


def test_a_method_may_be_calibrated_on_balanced_images(
    at_home: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ltqlib.quantization.methods.gptq import GPTQ

    seen: list[int] = []
    calibrate = GPTQ.calibrate

    def counting(self: GPTQ, graph: object, images: np.ndarray) -> object:
        seen.append(len(images))
        return calibrate(self, graph, images)  # type: ignore[arg-type]

    monkeypatch.setattr(GPTQ, "calibrate", counting)
    repaired(at_home.first, bits=[4], method=["gptq-tensor", "gptq-tensor, balanced"])
    rarest = min(at_home.data.counts)
    assert seen == [min(512, len(at_home.data.images)), 10 * rarest]
    repaired(at_home.first, bits=[4], method="gptq-tensor, balanced")  # remembered
    assert len(seen) == 2
