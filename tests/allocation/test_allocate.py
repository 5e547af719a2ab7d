"""The public entry on labelled outcomes: losses by class, the ways to choose, and the null."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
import xarray as xr

from ltqlib.allocation import (
    InfeasibleError,
    Limit,
    Objective,
    Widths,
    allocate,
    average_weight_bits,
    class_losses,
    curve_losses,
    groups_of,
    model_size,
    random_widths,
)
from ltqlib.errors import InputError

LAYERS, BITS = ("L1", "L2", "L3", "L4"), (32, 6, 5, 4)
PARAMETERS, MACS = (100, 400, 300, 50), (900, 400, 100, 50)
CLASSES, IMAGES = 4, 240


def measured(seeds: int = 2, **kept: object) -> xr.Dataset:
    """One layer at a time, as `sensitivity` measures it: rare classes lose more, L2 most."""
    generator = np.random.default_rng(0)
    labels = np.arange(IMAGES) % CLASSES
    harm = generator.uniform(0.2, 1, (seeds, 4, CLASSES)) * np.array([1, 1, 2, 3])
    share = 0.2 * harm[:, :, None, :] * (4.0 ** (4 - np.array(BITS)))[:, None]
    wrong = generator.random((seeds, 1, 1, IMAGES)) < 0.1 + share[..., labels]
    wrong[:, :, 0] = generator.random((seeds, 1, IMAGES)) < 0.1
    return xr.Dataset(
        {"right": (("seed", "layer", "bits", "image"), ~wrong)},
        {
            "seed": range(seeds),
            "layer": list(LAYERS),
            "bits": list(BITS),
            "label": ("image", labels),
            "group": ("image", np.where(labels < 2, "head", "tail")),
            "parameters": ("layer", list(PARAMETERS)),
            "macs": ("layer", list(MACS)),
        },
        {"classes": list("abcd")},
    )


@pytest.fixture(scope="module")
def alone() -> xr.Dataset:
    return measured()


def test_losses_are_differences_of_class_accuracies(alone) -> None:
    losses = class_losses(alone)
    assert losses.dims == ("seed", "class", "layer", "bits")
    assert groups_of(losses) == {"head": [0, 1], "tail": [2, 3]}
    for seed, label, layer, bits in itertools.product(
        range(2), range(CLASSES), (0, 3), range(len(BITS))
    ):
        images = np.flatnonzero(alone.label.values == label)
        right = alone.right.values[seed, layer]
        expected = 100 * (right[0, images].mean() - right[bits, images].mean())
        assert float(losses[seed, label, layer, bits]) == pytest.approx(expected)


def test_the_ranking_is_the_posts(alone) -> None:
    """Written out: accuracy left with one layer at 4 bits, 6 bits from the lowest accuracy on."""
    widths = allocate(alone, minimize="tail", choices=(6, 4), mean_bits=5)
    assert isinstance(widths, Widths)
    assert widths.dims == ("seed", "layer")
    for seed in range(2):
        right = alone.right.sel(seed=seed, bits=4)
        left = {
            layer: np.mean(
                [right.sel(layer=layer).values[alone.label.values == c].mean() for c in (2, 3)]
            )
            for layer in LAYERS
        }
        expected = dict.fromkeys(LAYERS, 4)
        for layer in sorted(LAYERS, key=left.__getitem__):
            raised = expected | {layer: 6}
            if np.dot(list(raised.values()), PARAMETERS) / sum(PARAMETERS) <= 5:
                expected = raised
        assert dict(zip(LAYERS, widths.sel(seed=seed).values.tolist(), strict=True)) == expected
    np.testing.assert_allclose(widths.mean_bits, average_weight_bits(widths))
    assert (widths.mean_bits <= 5).all()


@pytest.mark.parametrize("minimize", ["norm", "tail", "worst"])
def test_a_ranking_needs_the_fewer_bits_alone(alone, minimize) -> None:
    """The other width decides nothing: only what the sum of the losses predicts is then unknown."""
    both, fewer = (alone.sel(bits=[32, *widths]) for widths in ((6, 4), (4,)))
    expected = allocate(both, minimize, (6, 4), mean_bits=5)
    found = allocate(fewer, minimize, (6, 4), mean_bits=5)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(found.mean_bits, expected.mean_bits)
    assert "predicted" in expected.coords
    assert "predicted" not in found.coords
    drawn = [random_widths(of, minimize, (6, 4), mean_bits=5, draws=3) for of in (fewer, both)]
    np.testing.assert_array_equal(*drawn)
    # where no layer gets the width that was not measured, the prediction is known
    assert "predicted" in allocate(fewer, minimize, (6, 4), mean_bits=4).coords
    with pytest.raises(InputError, match="alone at 6 bits"):
        allocate(fewer, minimize, (6, 4), mean_bits=5, how="exact")


@pytest.mark.parametrize("how", ["ranking", "exact"])
@pytest.mark.parametrize("minimize", ["norm", "head", "worst", "cvar:0.5", "0.5*norm + 0.5*tail"])
def test_every_way_keeps_the_limit_and_none_is_better_than_the_exact(alone, how, minimize) -> None:
    options = {"minimize": minimize, "choices": (6, 4), "mean_bits": 5.1}
    widths = allocate(alone, how=how, **options)
    assert (widths.mean_bits <= 5.1 + 1e-9).all()
    losses = class_losses(alone)
    objective = Objective.parse(minimize, groups_of(losses))
    for seed in range(2):
        lost = sum(losses.sel(seed=seed, layer=n, bits=int(b)) for n, b in zip(
            LAYERS, widths.sel(seed=seed).values, strict=True
        ))  # fmt: skip
        value = float(objective.value(lost.values))
        assert float(widths.predicted.sel(seed=seed)) == pytest.approx(value)
    best = allocate(alone, how="exact", **options).predicted
    assert (widths.predicted >= best - 1e-6).all()


def test_limits_on_bytes_and_measured_time(alone) -> None:
    size = 5 * sum(PARAMETERS) / 8
    widths = allocate(alone, "tail", (6, 5, 4), max_size=size, how="exact")
    assert (model_size(widths) <= size).all()
    by_time = Limit("ms", {name: {6: 3.0, 5: 2.0, 4: 1.0} for name in LAYERS}, 6.0)
    widths = allocate(alone, "tail", (6, 5, 4), limits=[by_time], how="exact")
    assert all(by_time.cost(row) <= 6 for row in widths)


def test_other_dimensions_are_allocated_one_by_one(alone) -> None:
    turned = alone.isel(layer=[1, 0, 2, 3]).assign_coords(layer=alone.layer)
    factors = xr.Variable("factor", [0.1, 0.01])
    two = xr.concat([alone, turned], factors, coords="minimal", compat="override")
    both = allocate(two, "tail", mean_bits=5)
    assert set(both.dims) == {"factor", "seed", "layer"}
    one = allocate(alone, "tail", mean_bits=5)
    np.testing.assert_array_equal(both.sel(factor=0.1).transpose("seed", "layer"), one)
    single = allocate(alone.sel(seed=1), "tail", mean_bits=5)
    assert single.dims == ("layer",)
    np.testing.assert_array_equal(single, one.sel(seed=1))


def test_losses_that_were_computed_elsewhere_are_minimized_themselves(alone) -> None:
    table = class_losses(alone)
    tail = table.isel({"class": [2, 3]}).mean("class")
    for how in ("ranking", "exact"):
        given = allocate(alone, minimize=tail, mean_bits=5, how=how)
        np.testing.assert_array_equal(given, allocate(alone, "tail", mean_bits=5, how=how))


def moved(outcomes: xr.Dataset, offsets: xr.DataArray) -> xr.Dataset:
    """The same networks at other operating points."""
    margin = outcomes.margin + offsets
    predicted = xr.where(margin > 0, outcomes.best_tail, outcomes.best_head)
    right = (predicted == outcomes.label).transpose(*outcomes.right.dims)
    return outcomes.assign(margin=margin.transpose(*outcomes.right.dims), right=right)


def with_margins() -> xr.Dataset:
    """One layer at a time: noise by layer and width, on images that are hard to tell apart."""
    generator = np.random.default_rng(5)
    labels = np.arange(400) % CLASSES
    logits = 2.0 * np.eye(CLASSES)[labels] + generator.normal(size=(2, 1, 1, 400, CLASSES))
    noise = np.array([0.3, 1.0, 0.6, 0.1])[:, None] * np.array([0.0, 0.5, 0.7, 1.0])
    logits = logits + noise[..., None, None] * generator.normal(size=(2, 4, 4, 400, CLASSES))
    dims = ("seed", "layer", "bits", "image")
    head, tail = logits[..., :2], logits[..., 2:]
    outcomes = measured().drop_dims("image")
    return outcomes.assign(
        right=(dims, logits.argmax(-1) == labels),
        best_head=(dims, head.argmax(-1)),
        best_tail=(dims, 2 + tail.argmax(-1)),
        margin=(dims, tail.max(-1) - head.max(-1)),
    ).assign_coords(label=("image", labels), group=("image", np.where(labels < 2, "head", "tail")))


def test_the_curve_ranks_by_noise_whatever_the_operating_point() -> None:
    alone = with_margins()
    lost = curve_losses(alone)
    assert lost.dims == ("seed", "layer", "bits")
    assert float(abs(lost.sel(bits=32)).max()) == 0
    order = lost.sel(bits=4).mean("seed").argsort().values.tolist()
    assert order == [3, 0, 2, 1]  # as the noise of the layers rises
    offsets = xr.DataArray([0.3, 2.0, -2.0, 0.6], {"layer": list(LAYERS)}, ["layer"])
    elsewhere = moved(alone, offsets * (alone.bits < 32))
    np.testing.assert_allclose(curve_losses(elsewhere), lost, atol=1e-9)
    by_curve = allocate(elsewhere, "curve", mean_bits=5)
    np.testing.assert_array_equal(by_curve, allocate(alone, minimize=lost, mean_bits=5))
    assert (by_curve != allocate(elsewhere, "tail", mean_bits=5)).any()


def test_a_head_accuracy_out_of_reach_leaves_nothing_of_the_tail() -> None:
    alone = with_margins()
    wrong = alone.best_head.where((alone.layer != "L2") | (alone.bits != 4) | (alone.seed > 0), 2)
    lost, before = (curve_losses(x) for x in (alone.assign(best_head=wrong), alone))
    tail = alone.right.sel(bits=32, layer="L2", seed=0)[alone.label.values >= 2].mean()
    assert float(lost.sel(seed=0, layer="L2", bits=4)) == pytest.approx(100 * float(tail), abs=15)
    np.testing.assert_allclose(lost.sel(seed=1), before.sel(seed=1))


def test_random_widths_keep_the_limit_and_know_no_layer(alone) -> None:
    widths = random_widths(alone, "tail", (6, 4), mean_bits=5, draws=40, seed=3)
    assert widths.dims == ("draw", "seed", "layer")
    assert (average_weight_bits(widths) <= 5 + 1e-9).all()
    share = (widths == 6).mean(["draw", "seed"])
    assert (share > 0.05).all()  # every layer is drawn now and then
    again = random_widths(alone, "tail", (6, 4), mean_bits=5, draws=40, seed=3)
    np.testing.assert_array_equal(widths, again)
    other = random_widths(alone, "tail", (6, 4), mean_bits=5, draws=40, seed=4)
    assert (widths != other).any()
    assert (widths.sel(seed=0) != widths.sel(seed=1)).any()


def test_the_exact_null_has_the_losses_of_the_table_on_other_layers(alone) -> None:
    """With equal costs a shuffled optimum is the optimum, shuffled."""
    equal = alone.assign_coords(parameters=("layer", [1, 1, 1, 1]))
    options = {"choices": (6, 5, 4), "mean_bits": 5, "how": "exact"}
    found = np.sort(random_widths(equal, "norm", draws=5, **options), axis=-1)
    expected = np.sort(allocate(equal, "norm", **options), axis=-1)
    np.testing.assert_array_equal(found, np.broadcast_to(expected, found.shape))


def test_what_cannot_be_allocated_is_refused(alone) -> None:
    def refused(says: str, of: xr.Dataset | xr.DataArray = alone, *args, **options) -> None:
        with pytest.raises(InputError, match=says):
            allocate(of, *args, **({"mean_bits": 5} | options))

    refused("no 32 bits", alone.sel(bits=[6, 4]))
    refused("no dimension layer", alone.isel(layer=0))
    refused("no layer was measured alone at 3 bits", choices=(6, 3))
    refused("unknown objective 'rare': choose from norm, worst, .*, head, tail", minimize="rare")
    refused("sensitivity has no best_head", minimize="curve")
    refused("needs outcomes of images", class_losses(alone), minimize="curve")
    refused("know the groups", alone.drop_vars("group"), minimize="tail")
    refused("how='best' is unknown", how="best")
    refused("without a limit", mean_bits=None)
    refused("ranking chooses between two widths, not 3", choices=(6, 5, 4))
    refused("whole numbers of bits", choices=(6.5, 4))
    refused("whole numbers of bits", choices=(), how="exact")
    refused("parameters of the layers are not known", alone.drop_vars("parameters"))
    refused("class 3 has no loss for L1 at 32 bits", alone.isel(image=alone.label != 3))
    refused("no dimension class", alone.right)
    with pytest.raises(InfeasibleError, match="to at least 4"):
        allocate(alone, mean_bits=3)


def test_no_torch_is_imported() -> None:
    script = "import sys, ltqlib.allocation; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
