"""Budgets: their tables against the costs of single allocations, and what is refused."""

import itertools

import numpy as np
import pytest

from ltqlib.first import mpq
from ltqlib.first.errors import InputError
from ltqlib.first.mpq import Budget

PARAMETERS = {"conv": 27, "wide": 300, "fc": 10}
MACS = {"conv": 9_000, "wide": 1_200, "fc": 10}
ACT_BITS = {"fc": 4, "wide": 8, "conv": 8}  # another order: names count, not places
WIDTHS = (8, 4, 2)
ALLOCATIONS = [dict(zip(PARAMETERS, b, strict=True)) for b in itertools.product(WIDTHS, repeat=3)]


@pytest.mark.parametrize("widths", ALLOCATIONS, ids=lambda a: "-".join(map(str, a.values())))
def test_tables_agree_with_the_cost_of_every_allocation(widths):
    bits = Budget.average_weight_bits(PARAMETERS, WIDTHS, 5)
    assert bits.cost(widths) == pytest.approx(mpq.average_weight_bits(widths, PARAMETERS))
    size = Budget.model_size(PARAMETERS, WIDTHS, 100)
    assert size.cost(widths) == pytest.approx(mpq.model_size(widths, PARAMETERS))
    bops = Budget.bops(ACT_BITS, MACS, WIDTHS, 1e6)
    assert bops.cost(widths) == pytest.approx(mpq.bops(widths, ACT_BITS, MACS))


def test_latency_adds_up_what_was_measured():
    measured = {"conv": {8: 1.5, 4: 1.0, 2: 1.25}, "fc": {8: 0.5, 4: 0.25, 2: 0.25}}
    latency = Budget.latency(measured, WIDTHS, 2)
    assert latency.cost({"fc": 4, "conv": 2}) == 1.5
    assert latency.cost({"fc": 8, "conv": 8}) == 2.0
    del measured["fc"][2]
    with pytest.raises(InputError, match="latency of fc at 2 bits is missing"):
        Budget.latency(measured, WIDTHS, 2)


@pytest.mark.parametrize(
    ("costs", "limit", "says"),
    [
        (np.ones((2, 3)), 1.0, r"time have shape \(2, 3\).*\(3, 3\)"),
        (np.full((3, 3), np.nan), 1.0, "time of conv at 8 bits is not a finite number"),
        (np.ones((3, 3)), float("nan"), "limit of time is not a number"),
    ],
)
def test_a_bad_table_is_refused(costs, limit, says):
    with pytest.raises(InputError, match=says):
        Budget("time", tuple(PARAMETERS), WIDTHS, costs, limit)


def test_activation_bits_must_cover_the_layers():
    with pytest.raises(InputError, match="act_bits and macs name different layers"):
        Budget.bops({"conv": 8}, MACS, WIDTHS, 1e6)
