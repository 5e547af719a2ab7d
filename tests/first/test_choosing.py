"""How bits are chosen, against brute force over every allocation of a small network."""

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import recall_score

from ltqlib.first import mpq
from ltqlib.first.data import Images
from ltqlib.first.errors import InputError
from ltqlib.first.models import Network, predict_logits, quantizable_layers
from ltqlib.first.mpq import Sensitivity
from ltqlib.first.quantization import SCHEMES, Bits, quantize_network
from ltqlib.first.records import pack_numbers
from ltqlib.first.sensitivity import Configurations
from ltqlib.first.steps.choosing import Chooser, importances
from ltqlib.first.steps.common import cross_fitted

LAYERS, WIDTHS = ("L1", "L2", "L3", "L4"), (6, 5, 4, 3)
COSTS = {
    "L1": {"parameters": 100, "macs": 9_000},
    "L2": {"parameters": 400, "macs": 4_000},
    "L3": {"parameters": 900, "macs": 1_500},
    "L4": {"parameters": 300, "macs": 300},
}
GROUPS = {"norm": [0, 1, 2], "head": [0], "tail": [1, 2]}


@pytest.fixture
def chooser() -> Chooser:
    losses = np.random.default_rng(3).normal(1, 1, (3, 4, 4)) * [0, 1, 3, 9]
    table = Sensitivity(losses, LAYERS, WIDTHS, ("0", "1", "2"))
    return Chooser({"drop": table}, COSTS, GROUPS, slack=0.5, high=6, low=4)


def costs_of(widths: tuple[int, ...]) -> dict[str, float]:
    """Average bits a weight and a multiply-add, from the definitions."""
    named = dict(zip(LAYERS, widths, strict=True))
    parameters = {name: cost["parameters"] for name, cost in COSTS.items()}
    macs = {name: cost["macs"] for name, cost in COSTS.items()}
    of_uniform = mpq.bops(dict.fromkeys(LAYERS, 1), dict.fromkeys(LAYERS, 8), macs)
    return {
        "size": mpq.average_weight_bits(named, parameters),
        "bops": mpq.bops(named, dict.fromkeys(LAYERS, 8), macs) / of_uniform,
    }


def allowed(limits: dict[str, float]) -> list[tuple[int, ...]]:
    return [
        widths
        for widths in itertools.product(WIDTHS, repeat=4)
        if all(costs_of(widths)[kind] <= limit + 1e-9 for kind, limit in limits.items())
    ]


@pytest.mark.parametrize("objective", ["mean", "tail", "worst", "constrained"])
@pytest.mark.parametrize(
    "limits", [{"size": 4.5}, {"bops": 4.0}, {"size": 4.5, "bops": 4.5}], ids=str
)
def test_exact_choices_are_the_best_of_all_that_keep_the_limits(
    chooser: Chooser, objective: str, limits: dict[str, float]
) -> None:
    def losses(widths: tuple[int, ...]) -> npt.NDArray[np.float64]:
        return chooser.tables["drop"].predict(dict(zip(LAYERS, widths, strict=True)))

    candidates = allowed(limits)
    score: Any = {
        "mean": lambda widths: losses(widths).mean(),
        "tail": lambda widths: losses(widths)[1:].mean(),
        "worst": lambda widths: losses(widths).max(),
    }.get(objective)
    if objective == "constrained":
        most = min(losses(widths).max() for widths in candidates) + 0.5
        candidates = [widths for widths in candidates if losses(widths).max() <= most + 1e-9]
        score = lambda widths: losses(widths).mean()  # noqa: E731
    found = chooser.choose("exact", "drop", objective, limits)
    assert found in candidates
    assert score(found) == pytest.approx(min(score(widths) for widths in candidates))


@pytest.mark.parametrize("kind", ["size", "bops"])
@pytest.mark.parametrize("solver", ["greedy", "ranking"])
def test_the_other_solvers_keep_one_limit_and_leave_two_alone(
    chooser: Chooser, solver: str, kind: str
) -> None:
    objective = "norm"
    widths = chooser.choose(solver, "drop", objective, {kind: 4.5})
    assert widths is not None
    assert costs_of(widths)[kind] <= 4.5 + 1e-9
    assert chooser.choose(solver, "drop", objective, {"size": 4.5, "bops": 4.5}) is None


def test_the_uniform_network_is_exactly_at_its_limit(chooser: Chooser) -> None:
    for budget in chooser.budgets({"size": 4.0, "bops": 4.0}):
        assert budget.cost(dict.fromkeys(LAYERS, 4)) == pytest.approx(budget.limit)


def test_a_ranking_is_the_one_of_the_post(chooser: Chooser) -> None:
    table = chooser.tables["drop"]
    drops = table.losses[[1, 2], :, 2].mean(0)
    ranked = [LAYERS[index] for index in np.argsort(-drops)]
    parameters = {name: cost["parameters"] for name, cost in COSTS.items()}
    expected = mpq.split_by_budget(ranked, parameters, 4.6, high=6, low=4)
    assert chooser.choose("ranking", "drop", "tail", {"size": 4.6}) == tuple(expected.values())


def test_unknown_words_are_refused(chooser: Chooser) -> None:
    with pytest.raises(InputError, match="the solvers are exact"):
        chooser.choose("annealing", "drop", "mean", {"size": 4.5})
    with pytest.raises(InputError, match="the scores drop"):
        chooser.choose("exact", "price", "mean", {"size": 4.5})
    with pytest.raises(InputError, match="use size or bops"):
        chooser.choose("exact", "drop", "mean", {"latency": 4.5})


def test_a_shuffled_choice_is_that_of_a_table_whose_layers_are_shuffled(chooser: Chooser) -> None:
    widths = chooser.shuffled("drop", {"size": 4.5}, [0, 1])
    assert costs_of(widths)["size"] <= 4.5 + 1e-9
    table, order = chooser.tables["drop"], np.random.default_rng([0, 1]).permutation(4)
    of_all = [table.losses[:, order][:, range(4), [WIDTHS.index(b) for b in w]].sum()
              for w in (widths, *allowed({"size": 4.5}))]  # fmt: skip
    assert of_all[0] == pytest.approx(min(of_all))


def test_losses_from_predictions_are_differences_of_recalls() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 200)
    reference, *others = generator.integers(0, 3, (5, 200)).astype(np.uint8)
    changed = {
        "L1": {4: others[0], 3: others[1]},
        "L2": {4: others[2], 3: others[3]},
    }
    table = Sensitivity.from_predictions(reference, changed, labels, 3)
    assert (table.layers, table.widths) == (("L1", "L2"), (4, 3))
    for (layer, by_width), row in zip(changed.items(), (0, 1), strict=True):
        for column, predictions in enumerate(by_width.values()):
            expected = 100 * (
                recall_score(labels, reference, average=None)
                - recall_score(labels, predictions, average=None)
            )
            np.testing.assert_allclose(table.losses[:, row, column], expected, err_msg=layer)


def test_negative_traces_do_not_pay_for_fewer_bits() -> None:
    values = np.array([[[1.0, 2.0]], [[-1.0, -2.0]]])
    scores = {name: pack_numbers(values) for name in ("loss", "kl", "fit", "hawq")}
    record = {"payload": {"layers": ["L1"], "bits": [4, 3], "scores": {"select": scores}}}
    tables = importances(record, "select", ["a", "b"])
    np.testing.assert_array_equal(tables["hawq"].losses, [[[1, 2]], [[0, 0]]])
    np.testing.assert_array_equal(tables["loss"].losses, values)


def test_each_image_is_judged_under_the_widths_of_the_other_half(
    folded_network: Network, smoke_images: Images
) -> None:
    names, scheme = list(quantizable_layers(folded_network)), SCHEMES["w-tensor"]
    images = smoke_images[:60]
    select = np.arange(60) % 3 == 0
    chosen = [
        {"select": (3,) * 16, "report": (2,) * 8 + (4,) * 8},
        {"select": (4,) * 16, "report": (3,) * 16},
    ]
    configurations = Configurations(folded_network, scheme, "float32")
    found = cross_fitted(configurations, images, chosen, select)
    for by_half, predictions in zip(chosen, found, strict=True):
        for half, mask in (("select", ~select), ("report", select)):
            bits = dict(zip(names, map(Bits, by_half[half]), strict=True))
            network = quantize_network(folded_network, bits, scheme)
            expected = predict_logits(network, images[mask]).argmax(1)
            np.testing.assert_array_equal(predictions[mask], expected)
