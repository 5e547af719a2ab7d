"""Rarity and identity: known truths, unbiasedness of CR2, coverage."""

import math

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats

from ltqlib.errors import InputError
from ltqlib.statistics import identity
from ltqlib.statistics.identity import fit_identity, rarity_and_class

CLASSES = 10
COUNTS = [int(5000 * 0.01 ** (rank / 9)) for rank in range(CLASSES)]
SLOPE = (1.0, {})
GAP = (1.1, {f"c{i}": 1 / 4 if i < 4 else -1 / 6 for i in range(CLASSES)})
GROUPS = {"head": ["c0"], "tail": ["c1"]}
EFFECTS = np.array([4.0, -2.0, -5.0, 3.0, 0.0, 1.0, -3.0, 2.0, 0.5, -0.5])


def table(orders: int = 4, seeds: int = 2, classes: int = CLASSES, seed: int = 0) -> pd.DataFrame:
    """A design with random class orders and value 0; named classes, as the records have."""
    generator, rows = np.random.default_rng(seed), []
    for order in range(orders):
        ranked = generator.permutation(classes)
        for run_seed in range(seeds):
            for rank, label in enumerate(ranked):
                run = f"{order}/{run_seed}"
                rows.append((run, order, run_seed, f"c{label}", COUNTS[rank], 0.0))
    return pd.DataFrame(rows, columns=["run", "order", "seed", "class", "count", "value"])


def label(frame: pd.DataFrame) -> np.ndarray:
    return frame["class"].str[1:].to_numpy(int)


def truth(frame: pd.DataFrame, slope: float = 3.0) -> np.ndarray:
    return slope * np.log10(frame["count"].to_numpy()) + EFFECTS[label(frame)]


def labelled(frame: pd.DataFrame) -> xr.DataArray:
    """The table as a labelled array: dimensions order, seed, class."""
    cells = frame.set_index(["order", "seed", "class"])
    values = cells["value"].to_xarray()
    counts = cells.xs(0, level="seed")["count"].to_xarray()
    return values.assign_coords(count=counts)


def test_without_noise_slope_and_class_effects_are_found():
    frame = table()
    fit = fit_identity(labelled(frame.assign(value=truth(frame))))
    assert fit.contrast(*SLOPE)[:3] == pytest.approx((3, 3, 3))
    for name, effect in zip(fit.classes[1:], EFFECTS[1:], strict=True):
        found = fit.contrast(0, {name: 1, "c0": -1}).value
        assert found == pytest.approx(effect - EFFECTS[0])


def noisy(seed: int = 1) -> pd.DataFrame:
    frame = table()
    return frame.assign(value=truth(frame) + np.random.default_rng(seed).normal(size=len(frame)))


def test_estimates_are_those_of_least_squares_with_another_coding():
    frame = noisy()
    others = [(frame["class"] == f"c{i}").to_numpy(float) for i in range(1, CLASSES)]
    design = np.column_stack([np.ones(len(frame)), np.log10(frame["count"]), *others])
    beta = np.linalg.lstsq(design, frame["value"])[0]
    fit = fit_identity(labelled(frame))
    assert fit.contrast(*SLOPE).value == pytest.approx(beta[1])
    assert fit.contrast(0, {"c4": 1, "c0": -1}).value == pytest.approx(beta[1 + 4])


def squared_error(fit: identity.IdentityFit, contrast: tuple) -> float:
    found = fit.contrast(*contrast)
    return ((found.high - found.value) / stats.t.ppf(0.975, found.df)) ** 2


@pytest.mark.parametrize("contrast", [(1.0, {}), (0.0, {"c0": 1, "c1": -1})], ids=str)
def test_variance_is_unbiased_and_df_is_satterthwaites(contrast):
    # The variance is a quadratic form y'Qy of the values; Q by polarization, from outside.
    # Independent errors: its mean is tr(Q), its variance 2 tr(QQ), df = 2 mean^2 / variance.
    one = fit_identity(labelled(table(orders=3, seeds=2, classes=4)))
    size = len(one.frame)

    def fit(values: np.ndarray) -> identity.IdentityFit:
        one.frame["value"] = values  # the design stays
        return one

    unit = np.eye(size)
    own = np.array([squared_error(fit(u), contrast) for u in unit])
    form = np.diag(own)
    for i in range(size):
        for j in range(i):
            both = squared_error(fit(unit[i] + unit[j]), contrast)
            form[i, j] = form[j, i] = (both - own[i] - own[j]) / 2
    row = np.array([fit(u).contrast(*contrast).value for u in unit])
    assert np.trace(form) == pytest.approx(row @ row)
    df = np.trace(form) ** 2 / (form**2).sum()
    assert fit(unit[0]).contrast(*contrast).df == pytest.approx(df)


def test_the_parts_add_up_and_are_those_of_the_truth():
    frame = noisy()
    ranked = frame[frame["order"] == 2].sort_values("count", ascending=False)["class"].unique()
    groups = {"head": ranked[:4].tolist(), "tail": ranked[4:].tolist()}
    split = rarity_and_class(labelled(frame), groups, order=2)
    slope, rarity, of_class, total = split["value"]
    logs = np.log10(np.array(COUNTS))
    step = logs[:4].mean() - logs[4:].mean()
    assert rarity == pytest.approx(slope * step)
    assert total == pytest.approx(rarity + of_class)
    known = np.array([EFFECTS[int(name[1:])] for name in ranked])
    truths = [3, 3 * step, known[:4].mean() - known[4:].mean()]
    assert (split["low"][:3] < truths).all()
    assert (split["high"][:3] > truths).all()


def test_a_seed_that_was_not_trained_is_left_out():
    frame = noisy()
    short = frame[(frame["order"] > 0) | (frame["seed"] == 0)]
    partial = labelled(frame)
    partial.loc[{"order": 0, "seed": 1}] = np.nan
    found, other = (fit_identity(values) for values in (partial, labelled(short)))
    assert found.contrast(*SLOPE) == pytest.approx(other.contrast(*SLOPE))


def shared_noise(frame: pd.DataFrame, generator: np.random.Generator, shared: float) -> np.ndarray:
    """Errors of the kind that training makes.

    Run effects; rare classes noisier; classes of a run compete (their errors correlate
    negatively); and with ``shared`` > 0 a part that the seeds of an order have in common.
    """
    log = np.log10(frame["count"].to_numpy()).reshape(-1, CLASSES)
    own = 1 + 2 * (log.max() - log) / np.ptp(log)
    noise = own * generator.standard_normal(log.shape)
    noise -= 0.7 * noise.mean(axis=1, keepdims=True)
    noise += generator.standard_normal((len(log), 1))
    orders = frame["order"].to_numpy().reshape(-1, CLASSES)[:, 0]
    cells = shared * generator.standard_normal((orders.max() + 1, CLASSES))
    return (noise + own * cells[orders]).ravel()


def coverage(shared: float, contrast: tuple, replications: int = 1000) -> float:
    """Share of the 95 % intervals that hold the truth, 4 orders x 2 seeds."""
    frame = table().sort_values(["run", "class"], ignore_index=True)
    generator, hits, mean = np.random.default_rng(0), 0, truth(frame)
    weights = np.array([contrast[1].get(f"c{i}", 0) for i in range(CLASSES)])
    right = 3 * contrast[0] + weights @ EFFECTS
    fit = fit_identity(labelled(frame))
    for _ in range(replications):
        # The design stays, so what hangs on it alone is computed once.
        fit.frame["value"] = mean + shared_noise(frame, generator, shared)
        found = fit.contrast(*contrast)
        hits += found.low <= right <= found.high
    return hits / replications


@pytest.mark.slow
@pytest.mark.parametrize("shared", [0.0, 1.0])
@pytest.mark.parametrize("contrast", [SLOPE, GAP, (0.0, GAP[1])], ids=["slope", "gap", "identity"])
def test_95_percent_intervals_by_order_cover_95_percent(contrast, shared):
    assert 0.93 <= coverage(shared, contrast) <= 0.97


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda v: fit_identity(v.assign_coords(count=0 * v["count"])), "count at least 1"),
        (lambda v: fit_identity(v + math.inf), "must be finite"),
        (lambda v: fit_identity(v.where((v["class"] != "c1") | (v.seed > 0))), "every class"),
        (lambda v: fit_identity(v.isel(order=[0])), "cannot be told apart"),
        (lambda v: fit_identity(v).contrast(0, {"cat": 1}), "class cat is not in the data"),
        (lambda v: fit_identity(v).contrast(0, {"c1": 1}), "sum to 0"),
        (lambda v: fit_identity(v.drop_vars("count")), "coordinate count"),
        (lambda v: rarity_and_class(v, GROUPS, order=9), "order 9 is not in the data"),
        (lambda v: rarity_and_class(v, {**GROUPS, "head": []}, 0), "at least one class each"),
        (lambda v: rarity_and_class(v, {**GROUPS, "head": ["cat"]}, 0), "class cat is not"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call(labelled(noisy()))


def test_labelled_values_are_split_measure_by_measure():
    """Planted: accuracy has a slope, the loss has class effects alone; a seed is missing."""
    generator = np.random.default_rng(3)
    ranked = np.stack([np.arange(CLASSES), *(generator.permutation(CLASSES) for _ in range(3))])
    counts = np.empty((4, CLASSES), int)
    np.put_along_axis(counts, ranked, np.array(COUNTS)[None].repeat(4, 0), axis=1)
    slope = np.stack([20 * np.log10(counts), 0 * counts])[:, :, None].repeat(2, 2)
    values = xr.DataArray(
        slope + EFFECTS,
        dims=("measure", "order", "seed", "class"),
        coords={"measure": ["accuracy", "loss"], "order": list("abcd"), "class": range(CLASSES)},
    ).assign_coords(count=(("order", "class"), counts))
    values[:, 2, 1] = np.nan  # not trained
    split = rarity_and_class(values, {"head": range(4), "tail": range(4, 10)}, order="a")["value"]
    steps = np.log10(COUNTS)
    rarity = 20 * (steps[:4].mean() - steps[4:].mean())
    identity_part = EFFECTS[:4].mean() - EFFECTS[4:].mean()
    found = split["accuracy"].to_list()
    assert found == pytest.approx([20, rarity, identity_part, rarity + identity_part])
    assert split["loss"].to_list() == pytest.approx([0, 0, identity_part, identity_part], abs=1e-9)
