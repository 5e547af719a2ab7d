"""The exact allocation against brute force over all widths, and what it says when none fit."""

import ctypes
import itertools
import time
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from ltqlib.first import mpq
from ltqlib.first.errors import InputError
from ltqlib.first.mpq import Budget, InfeasibleError, Objective, Sensitivity
from ltqlib.first.mpq.solver import CLASS_LOSS

CLOSE = 1e-6  # of the largest loss: what the solver promises


@dataclass
class Case:
    """A problem small enough to try every allocation."""

    sensitivity: Sensitivity
    budgets: list[Budget]
    tied: list[list[str]]
    max_class_loss: float | None

    def arguments(self):
        return {"tied": self.tied, "max_class_loss": self.max_class_loss}

    def every_allocation(self):
        """All widths that respect the tied layers."""
        layers = self.sensitivity.layers
        for bits in itertools.product(self.sensitivity.widths, repeat=len(layers)):
            widths = dict(zip(layers, bits, strict=True))
            if all(len({widths[name] for name in group}) == 1 for group in self.tied):
                yield widths

    def limits(self):
        """{name: (value of an allocation, limit)}."""
        found = {b.name: (b.cost, b.limit) for b in self.budgets}
        if self.max_class_loss is not None:
            found[CLASS_LOSS] = (lambda w: self.sensitivity.predict(w).max(), self.max_class_loss)
        return found

    def feasible(self, without=None):
        """The allocations that keep every limit, or all limits but one."""
        limits = [limit for name, limit in self.limits().items() if name != without]
        return [
            widths
            for widths in self.every_allocation()
            if all(value(widths) <= limit + 1e-9 for value, limit in limits)
        ]


@st.composite
def cases(draw, max_budgets=2):
    """Small tables with losses of either sign; whole numbers make ties and exact limits likely."""
    classes, layers, widths = draw(st.tuples(*[st.integers(1, 4)] * 2, st.integers(1, 3)))
    numbers = np.random.default_rng(draw(st.integers(0, 10_000)))
    losses = numbers.integers(-8, 30, (classes, layers, widths)) / 4
    if draw(st.booleans()):
        losses = losses + numbers.normal(size=losses.shape)
    names, bits = tuple(f"L{n}" for n in range(layers)), (8, 4, 2)[:widths]
    budgets = []
    for name in ("size", "time")[: draw(st.integers(0, max_budgets))]:
        costs = numbers.integers(1, 50, (layers, widths)).astype(float)
        least, most = int(costs.min(1).sum()), int(costs.max(1).sum())
        budgets.append(Budget(name, names, bits, costs, draw(st.integers(least - 5, most + 5))))
    tied = [list(names[:2])] if layers > 1 and draw(st.booleans()) else []
    sensitivity = Sensitivity(losses, names, bits, tuple(f"c{n}" for n in range(classes)))
    return Case(sensitivity, budgets, tied, draw(st.none() | st.integers(-5, 40)))


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
            mpq.allocate(case.sensitivity, case.budgets, objective, **case.arguments())
        return
    found = mpq.allocate(case.sensitivity, case.budgets, objective, **case.arguments())
    best = min(objective.value(case.sensitivity.predict(widths)) for widths in fitting)
    scale = max(1.0, np.abs(case.sensitivity.losses).max())
    assert found.objective == pytest.approx(best, abs=CLOSE * scale)
    assert found.widths in fitting
    assert 0 <= found.gap <= CLOSE * scale
    assert found.costs == {budget.name: budget.cost(found.widths) for budget in case.budgets}
    np.testing.assert_allclose(found.class_losses, case.sensitivity.predict(found.widths))


@pytest.mark.parametrize(
    "objective",
    [Objective.mean(), Objective.group([0]), Objective.worst(), Objective.cvar(0.4)],
    ids=["mean", "group", "worst", "cvar"],
)
@settings(max_examples=40)
@given(case=cases())
def test_each_objective_equals_brute_force(objective, case):
    agrees_with_brute_force(case, objective)


@settings(max_examples=80)
@given(st.data())
def test_mixes_under_budgets_ties_and_a_class_limit_equal_brute_force(data):
    case = data.draw(cases())
    agrees_with_brute_force(case, data.draw(objectives(len(case.sensitivity.classes))))


@settings(max_examples=80)
@given(cases(max_budgets=2))
def test_an_infeasible_limit_is_named_with_the_nearest_value_that_can_be_met(case):
    if case.feasible():
        return
    with pytest.raises(InfeasibleError) as caught:
        mpq.allocate(case.sensitivity, case.budgets, Objective.mean(), **case.arguments())
    limits, nearest = case.limits(), caught.value.nearest
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
        mpq.allocate(raised.sensitivity, raised.budgets, Objective.mean(), **raised.arguments())
        lower = raise_limits(case, {n: nearest[n] - 1e-3 for n in name})
        assert not lower.feasible()


def raise_limits(case, values):
    """The case with other limits."""
    budgets = [replace(b, limit=values.get(b.name, b.limit)) for b in case.budgets]
    return replace(
        case, budgets=budgets, max_class_loss=values.get(CLASS_LOSS, case.max_class_loss)
    )


@settings(max_examples=40)
@given(cases(max_budgets=1))
def test_the_smallest_cost_is_the_least_that_the_class_limit_allows(case):
    sensitivity = case.sensitivity
    shape = (len(sensitivity.layers), len(sensitivity.widths))
    costs = np.arange(1.0, 1 + np.prod(shape)).reshape(shape)
    budget = Budget("bytes", sensitivity.layers, sensitivity.widths, costs, 0.0)
    arguments = {"others": case.budgets, **case.arguments()}
    fitting = case.feasible()
    if fitting:
        found = mpq.smallest_cost(sensitivity, budget, **arguments)
        assert found == min(budget.cost(widths) for widths in fitting)
    else:
        with pytest.raises(InfeasibleError):
            mpq.smallest_cost(sensitivity, budget, **arguments)


def test_limits_are_kept_more_sharply_than_highs_keeps_them():
    # the better choice is over the limit by 1e-7 of the cost, which HiGHS would let pass
    costs = np.array([[1.0 + 1e-7, 0.5], [1.0, 1.0]])
    losses = np.array([[[0.0, 1.0], [0.0, 0.0]]])
    layers, widths = ("L1", "L2"), (8, 4)
    found = mpq.allocate(
        Sensitivity(losses, layers, widths, ("cat",)),
        [Budget("time", layers, widths, costs, 2.0)],
        Objective.mean(),
    )
    assert found.widths["L1"] == 4
    assert found.costs["time"] == 1.5


def realistic(classes=10, layers=16, widths=(8, 6, 5, 4, 3, 2), seed=0):
    """Losses that fall about fourfold with each bit, unlike for each class, with some noise."""
    numbers = np.random.default_rng(seed)
    each = numbers.lognormal(0, 1, (1, layers, 1)) * numbers.lognormal(0, 0.5, (classes, layers, 1))
    losses = each * 4.0 ** (2 - np.array(widths)) + numbers.normal(0, 0.02, (layers, len(widths)))
    names = tuple(f"L{n}" for n in range(layers))
    parameters = dict(zip(names, numbers.integers(1_000, 2_000_000, layers).tolist(), strict=True))
    classes_ = tuple(str(label) for label in range(classes))
    return Sensitivity(losses, names, widths, classes_), parameters


@pytest.mark.parametrize("text", ["mean", "tail", "worst", "cvar:0.3", "0.5*mean + 0.5*worst"])
def test_sixteen_layers_six_widths_ten_classes_take_less_than_a_second(text):
    sensitivity, parameters = realistic()
    size = Budget.model_size(parameters, sensitivity.widths, sum(parameters.values()) * 3.5 / 8)
    bits = Budget.average_weight_bits(parameters, sensitivity.widths, 5)
    objective = Objective.parse(text, {"tail": range(4, 10)})
    started = time.process_time()  # not wall time: the machine may be busy
    found = mpq.allocate(sensitivity, [size, bits], objective)
    assert time.process_time() - started < 1
    assert found.gap <= CLOSE * np.abs(sensitivity.losses).max()


def test_what_highs_prints_from_c_is_not_heard(capfd, monkeypatch):
    solve, c = optimize.milp, ctypes.CDLL(None)

    def talkative(*args, **options):
        c.puts(b"a line for developers")
        return solve(*args, **options)

    monkeypatch.setattr(optimize, "milp", talkative)
    sensitivity, _ = realistic(layers=3)
    print("before")
    mpq.allocate(sensitivity, [], Objective.worst())
    print("after", flush=True)
    c.fflush(None)
    assert capfd.readouterr().out == "before\nafter\n"


def test_what_an_infeasible_budget_says():
    sensitivity, parameters = realistic(layers=3)
    bits = Budget.average_weight_bits(parameters, sensitivity.widths, 1.5)
    with pytest.raises(InfeasibleError) as caught:
        mpq.allocate(sensitivity, [bits], Objective.mean())
    assert str(caught.value) == (
        "no widths keep average weight bits <= 1.5: raise average weight bits to at least 2"
    )
    size = Budget.model_size(parameters, sensitivity.widths, 1e6)
    with pytest.raises(
        InfeasibleError, match=r"raise average weight bits .* and loss of any class"
    ):
        mpq.allocate(sensitivity, [bits, size], Objective.mean(), max_class_loss=-5)


@pytest.mark.parametrize("value", [0.0, 123456.78, 1.23456789, -0.0123456789, 7e-9, -3.0, 1e20])
def test_the_value_to_type_in_is_never_too_small(value):
    said = float(str(InfeasibleError({"time": -1e30}, {"time": value})).split()[-1])
    assert value <= said <= value + 1e-5 * abs(value)


LAYERS, WIDTHS, CLASSES = ("L1", "L2"), (8, 4), ("cat", "dog")
TABLES = {name: {8: [0.1, 0.2], 4: [1.0, 2.0]} for name in LAYERS}


def test_tables_keep_their_places():
    tables = {"L1": {8: [1, 2], 4: [3, 4]}, "L2": {4: [7, 8], 8: [5, 6]}}
    sensitivity = Sensitivity.from_tables(tables, LAYERS, WIDTHS, CLASSES)
    np.testing.assert_array_equal(sensitivity.predict({"L2": 8, "L1": 4}), [8, 10])


@pytest.mark.parametrize(
    ("tables", "says"),
    [
        ({"L1": TABLES["L1"]}, "sensitivity of layer L2 is missing"),
        ({**TABLES, "L2": {8: [0.1, 0.2]}}, "layer L2 at 4 bits has 0 losses, 2 classes need"),
        ({**TABLES, "L2": {8: [0.1], 4: [1, 2]}}, "layer L2 at 8 bits has 1 losses, 2 classes"),
        (
            {**TABLES, "L2": {8: [0.1, np.nan], 4: [1, np.nan]}},
            "class dog has no loss for L2 at 8 bits: does it have an image in the selection set",
        ),
    ],
    ids=["layer", "width", "class", "empty-class"],
)
def test_tables_that_do_not_cover_the_problem_are_refused(tables, says):
    with pytest.raises(InputError, match=says):
        Sensitivity.from_tables(tables, LAYERS, WIDTHS, CLASSES)


@pytest.mark.parametrize(
    ("shape", "layers", "says"),
    [((2, 2, 3), LAYERS, r"shape \(2, 2, 3\).*\(2, 2, 2\)"), ((2, 2, 2), ("L1", "L1"), "twice")],
)
def test_a_sensitivity_of_another_shape_is_refused(shape, layers, says):
    with pytest.raises(InputError, match=says):
        Sensitivity(np.zeros(shape), layers, WIDTHS, CLASSES)


@pytest.mark.parametrize(
    ("budgets", "options", "says"),
    [
        ([("L2", "L1")], {}, "layers of the budget 'size 0' are L2, L1, those of the sensitivity"),
        ([LAYERS, LAYERS], {"names": "size"}, "two budgets share a name: size, size"),
        ([LAYERS], {"tied": [["L1", "L3"]]}, "tied layer L3 is not one of L1, L2"),
        ([LAYERS], {"tied": [["L1", "L2"], ["L2"]]}, "layer L2 is tied twice"),
        ([LAYERS], {"max_class_loss": float("nan")}, "max_class_loss is not a number"),
    ],
)
def test_arguments_that_do_not_fit_the_sensitivity_are_refused(budgets, options, says):
    sensitivity = Sensitivity.from_tables(TABLES, LAYERS, WIDTHS, CLASSES)
    options = dict(options)
    name = options.pop("names", None)
    given_ = [
        Budget(name or f"size {n}", layers, WIDTHS, np.ones((2, 2)), 9.0)
        for n, layers in enumerate(budgets)
    ]
    with pytest.raises(InputError, match=says):
        mpq.allocate(sensitivity, given_, Objective.mean(), **options)


def test_an_objective_of_unknown_classes_is_refused():
    sensitivity = Sensitivity.from_tables(TABLES, LAYERS, WIDTHS, CLASSES)
    with pytest.raises(InputError, match="class 2, the sensitivity has classes 0 to 1"):
        mpq.allocate(sensitivity, [], Objective.group([2]))
