"""The exact allocation against brute force over all widths, and what it says when none fit."""

import ctypes
import itertools
import time
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pytest
import xarray as xr
from allocation_tables import limit, predicted, spent, table
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from ltqlib.allocation import InfeasibleError, Limit, Objective, solve
from ltqlib.errors import InputError

CLOSE = 1e-6  # of the largest loss: what the solver promises


@dataclass
class Case:
    """A problem small enough to try every allocation."""

    losses: xr.DataArray
    limits: list[Limit]

    def every_allocation(self):
        """All widths."""
        layers, bits = self.losses.layer.values.tolist(), self.losses.bits.values.tolist()
        for chosen in itertools.product(bits, repeat=len(layers)):
            yield dict(zip(layers, chosen, strict=True))

    def allowed(self):
        """{name: (value of an allocation, limit)}."""
        return {one.name: (partial(spent, one), one.limit) for one in self.limits}

    def feasible(self, without=None):
        """The allocations that keep every limit, or all limits but one."""
        limits = [one for name, one in self.allowed().items() if name != without]
        return [
            widths
            for widths in self.every_allocation()
            if all(value(widths) <= most + 1e-9 for value, most in limits)
        ]


@st.composite
def cases(draw, max_limits=2):
    """Small tables with losses of either sign; whole numbers make ties and exact limits likely."""
    classes, layers, widths = draw(st.tuples(*[st.integers(1, 4)] * 2, st.integers(1, 3)))
    numbers = np.random.default_rng(draw(st.integers(0, 10_000)))
    losses = numbers.integers(-8, 30, (classes, layers, widths)) / 4
    if draw(st.booleans()):
        losses = losses + numbers.normal(size=losses.shape)
    names, bits = tuple(f"L{n}" for n in range(layers)), (8, 4, 2)[:widths]
    limits = []
    for name in ("size", "time")[: draw(st.integers(0, max_limits))]:
        costs = numbers.integers(1, 50, (layers, widths)).astype(float)
        least, most = int(costs.min(1).sum()), int(costs.max(1).sum())
        limits.append(limit(name, names, bits, costs, draw(st.integers(least - 5, most + 5))))
    return Case(table(losses, names, bits), limits)


@st.composite
def objectives(draw, classes):
    """One to three terms over all classes or some of them."""
    some = st.sets(st.integers(0, classes - 1), min_size=1).map(sorted)
    kinds = st.one_of(
        st.just(Objective.mean()),
        some.map(Objective.group),
        some.map(Objective.worst),
        st.builds(Objective.cvar, st.floats(0, 1), some),
        st.builds(Objective.cvar, st.floats(0.1, 0.9)),
    )
    weighted = st.builds(lambda factor, kind: factor * kind, st.floats(0, 3), kinds)
    terms = draw(st.lists(weighted, min_size=1, max_size=3))
    return Objective(tuple(term for objective in terms for term in objective.terms))


def agrees_with_brute_force(case, objective):
    """Solve both ways and compare: the same value, or no allocation at all."""
    fitting = case.feasible()
    if not fitting:
        with pytest.raises(InfeasibleError):
            solve(case.losses, case.limits, objective)
        return
    found = solve(case.losses, case.limits, objective)
    best = min(objective.value(predicted(case.losses, widths)) for widths in fitting)
    scale = max(1.0, float(np.abs(case.losses).max()))
    assert found.objective == pytest.approx(best, abs=CLOSE * scale)
    assert found.widths in fitting
    assert 0 <= found.gap <= CLOSE * scale
    assert found.costs == {one.name: spent(one, found.widths) for one in case.limits}
    np.testing.assert_allclose(found.class_losses, predicted(case.losses, found.widths), atol=1e-9)


@pytest.mark.parametrize(
    "objective",
    [Objective.mean(), Objective.group([0]), Objective.worst(), Objective.cvar(0.4)],
    ids=["mean", "group", "worst", "cvar"],
)
@settings(max_examples=25)
@given(case=cases())
def test_each_objective_equals_brute_force(objective, case):
    agrees_with_brute_force(case, objective)


@settings(max_examples=50)
@given(st.data())
def test_mixes_under_limits_equal_brute_force(data):
    case = data.draw(cases())
    agrees_with_brute_force(case, data.draw(objectives(case.losses.sizes["class"])))


@settings(max_examples=50)
@given(cases(max_limits=2))
def test_an_infeasible_limit_is_named_with_the_nearest_value_that_can_be_met(case):
    if case.feasible():
        return
    with pytest.raises(InfeasibleError) as caught:
        solve(case.losses, case.limits, Objective.mean())
    limits, nearest = case.allowed(), caught.value.nearest
    alone = {name: case.feasible(without=name) for name in limits}
    if any(alone.values()):  # one limit is to blame: the least value among what the others allow
        assert not caught.value.together
        least = {n: min(limits[n][0](w) for w in found) for n, found in alone.items() if found}
        assert nearest == pytest.approx(least, abs=1e-6)
    else:  # all the named limits have to move
        assert caught.value.together
        assert len(nearest) > 1
    for name in [list(nearest)] if caught.value.together else [[name] for name in nearest]:
        raised = raise_limits(case, {n: nearest[n] for n in name})
        assert raised.feasible()
        solve(raised.losses, raised.limits, Objective.mean())
        lower = raise_limits(case, {n: nearest[n] - 1e-3 for n in name})
        assert not lower.feasible()


def raise_limits(case, values):
    """The case with other limits."""
    limits = [replace(one, limit=values.get(one.name, one.limit)) for one in case.limits]
    return replace(case, limits=limits)


def test_limits_are_kept_more_sharply_than_highs_keeps_them():
    # the better choice is over the limit by 1e-7 of the cost, which HiGHS would let pass
    costs = np.array([[1.0 + 1e-7, 0.5], [1.0, 1.0]])
    losses = np.array([[[0.0, 1.0], [0.0, 0.0]]])
    layers, widths = ("L1", "L2"), (8, 4)
    time_limit = limit("time", layers, widths, costs, 2.0)
    found = solve(table(losses, layers, widths), [time_limit], Objective.mean())
    assert found.widths["L1"] == 4
    assert found.costs["time"] == 1.5


def realistic(classes=10, layers=16, widths=(8, 6, 5, 4, 3, 2), seed=0):
    """Losses that fall about fourfold with each bit, unlike for each class, with some noise."""
    numbers = np.random.default_rng(seed)
    each = numbers.lognormal(0, 1, (1, layers, 1)) * numbers.lognormal(0, 0.5, (classes, layers, 1))
    losses = each * 4.0 ** (2 - np.array(widths)) + numbers.normal(0, 0.02, (layers, len(widths)))
    names = tuple(f"L{n}" for n in range(layers))
    parameters = dict(zip(names, numbers.integers(1_000, 2_000_000, layers).tolist(), strict=True))
    return table(losses, names, widths), parameters


@pytest.mark.parametrize("text", ["norm", "tail", "worst", "cvar:0.3", "0.5*norm + 0.5*worst"])
def test_sixteen_layers_six_widths_ten_classes_take_less_than_a_second(text):
    losses, parameters = realistic()
    bits = losses.bits.values.tolist()
    size = Limit.model_size(parameters, bits, sum(parameters.values()) * 3.5 / 8)
    average = Limit.average_weight_bits(parameters, bits, 5)
    objective = Objective.parse(text, {"tail": range(4, 10)})
    started = time.process_time()  # not wall time: the machine may be busy
    found = solve(losses, [size, average], objective)
    assert time.process_time() - started < 1
    assert found.gap <= CLOSE * float(np.abs(losses).max())


def test_what_highs_prints_from_c_is_not_heard(capfd, monkeypatch):
    milp, c = optimize.milp, ctypes.CDLL(None)

    def talkative(*args, **options):
        c.puts(b"a line for developers")
        return milp(*args, **options)

    monkeypatch.setattr(optimize, "milp", talkative)
    losses, _ = realistic(layers=3)
    print("before")
    solve(losses, [], Objective.worst())
    print("after", flush=True)
    c.fflush(None)
    assert capfd.readouterr().out == "before\nafter\n"


def test_what_an_infeasible_limit_says():
    losses, parameters = realistic(layers=3)
    bits = losses.bits.values.tolist()
    average = Limit.average_weight_bits(parameters, bits, 1.5)
    with pytest.raises(InfeasibleError) as caught:
        solve(losses, [average], Objective.mean())
    assert str(caught.value) == (
        "no widths keep average weight bits <= 1.5: raise average weight bits to at least 2"
    )
    size = Limit.model_size(parameters, bits, 10)
    with pytest.raises(InfeasibleError, match=r"raise average weight bits .* and model size"):
        solve(losses, [average, size], Objective.mean())


@pytest.mark.parametrize("value", [0.0, 123456.78, 1.23456789, -0.0123456789, 7e-9, -3.0, 1e20])
def test_the_value_to_type_in_is_never_too_small(value):
    said = float(str(InfeasibleError({"time": -1e30}, {"time": value})).split()[-1])
    assert value <= said <= value + 1e-5 * abs(value)


LAYERS, WIDTHS = ("L1", "L2"), (8, 4)
LOSSES = table(np.array([[[0.1, 1.0]] * 2, [[0.2, 2.0]] * 2]), LAYERS, WIDTHS)


@pytest.mark.parametrize(
    ("limits", "name", "says"),
    [
        (
            [("L1", "L3")],
            None,
            "costs of size 0 and the losses name different layers: L2 is",
        ),
        ([LAYERS, LAYERS], "size", "two limits share a name: size, size"),
    ],
)
def test_arguments_that_do_not_fit_the_losses_are_refused(limits, name, says):
    every = [
        limit(name or f"size {n}", layers, WIDTHS, np.ones((2, 2)), 9.0)
        for n, layers in enumerate(limits)
    ]
    with pytest.raises(InputError, match=says):
        solve(LOSSES, every, Objective.mean())


def test_limits_are_read_by_name_and_not_by_place():
    costs = np.array([[4.0, 8.0], [1.0, 2.0]])  # of L2 and L1, at 4 and 8 bits
    size = limit("size", ("L2", "L1"), (4, 8), costs, 9.0)
    assert solve(LOSSES, [size], Objective.mean()).widths == {"L1": 4, "L2": 8}
    with pytest.raises(InputError, match="costs of size have no 8 bits"):
        solve(LOSSES, [limit("size", LAYERS, (4,), np.ones((2, 1)), 9.0)], Objective.mean())


def test_an_objective_of_unknown_classes_is_refused():
    with pytest.raises(InputError, match="class 2, the losses have classes 0 to 1"):
        solve(LOSSES, [], Objective.group([2]))
    with pytest.raises(InputError, match="give one table"):
        solve(LOSSES.expand_dims(seed=2), [], Objective.mean())
