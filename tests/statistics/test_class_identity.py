"""Rarity and identity: known truths, unbiasedness of CR2, coverage."""

import math

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats

from ltqlib.errors import InputError
from ltqlib.statistics import identity
from ltqlib.statistics.identity import decompose, fit_identity
from ltqlib.statistics.rarity import rarity_and_class

CLASSES = 10
COUNTS = [int(5000 * 0.01 ** (rank / 9)) for rank in range(CLASSES)]
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
    return pd.DataFrame(rows, columns=list(identity.COLUMNS))


def label(frame: pd.DataFrame) -> np.ndarray:
    return frame["class"].str[1:].to_numpy(int)


def truth(frame: pd.DataFrame, slope: float = 3.0) -> np.ndarray:
    return slope * np.log10(frame["count"].to_numpy()) + EFFECTS[label(frame)]


@pytest.mark.parametrize("run_effects", [False, True])
@pytest.mark.parametrize("cluster", ["order", "run"])
def test_without_noise_slope_and_class_effects_are_found(cluster, run_effects):
    frame = table()
    shift = frame["run"].map(hash) % 7 if run_effects else 0
    fit = fit_identity(
        frame.assign(value=truth(frame) + shift), cluster=cluster, run_effects=run_effects
    )
    assert fit.slope[:3] == pytest.approx((3, 3, 3))
    assert fit.class_effects["value"].tolist() == pytest.approx(EFFECTS - EFFECTS.mean())
    assert fit.class_effects["class"].tolist() == [f"c{i}" for i in range(CLASSES)]


def noisy(seed: int = 1) -> pd.DataFrame:
    frame = table()
    return frame.assign(value=truth(frame) + np.random.default_rng(seed).normal(size=len(frame)))


def test_estimates_are_those_of_least_squares_with_another_coding():
    frame = noisy()
    others = [(frame["class"] == f"c{i}").to_numpy(float) for i in range(1, CLASSES)]
    design = np.column_stack([np.ones(len(frame)), np.log10(frame["count"]), *others])
    beta = np.linalg.lstsq(design, frame["value"])[0]
    fit = fit_identity(frame)
    assert fit.slope.value == pytest.approx(beta[1])
    assert fit.contrast(0, {"c4": 1, "c0": -1}).value == pytest.approx(beta[1 + 4])


@pytest.mark.parametrize("cluster", ["order", "run"])
def test_run_effects_change_nothing_where_runs_have_the_same_counts(cluster):
    frame = noisy()
    plain = fit_identity(frame, cluster=cluster)
    with_runs = fit_identity(frame, cluster=cluster, run_effects=True)
    assert with_runs.slope == pytest.approx(plain.slope)
    pd.testing.assert_frame_equal(with_runs.class_effects, plain.class_effects)


def test_run_effects_take_out_what_a_run_with_fewer_images_lost():
    frame = noisy()
    small = frame["order"] == 1
    frame.loc[small, "count"] = (frame.loc[small, "count"] / 2).astype(int)
    shifted = frame.assign(value=frame["value"] - 10 * small)
    found, before = (fit_identity(f, run_effects=True) for f in (shifted, frame))
    assert found.slope == pytest.approx(before.slope)
    assert fit_identity(shifted).slope.value != pytest.approx(before.slope.value, rel=0.05)


def squared_error(fit: identity.IdentityFit, contrast: tuple) -> float:
    found = fit.contrast(*contrast)
    return ((found.high - found.value) / stats.t.ppf(0.975, found.df)) ** 2


@pytest.mark.parametrize("contrast", [(1.0, {}), (0.0, {"c0": 1, "c1": -1})], ids=str)
@pytest.mark.parametrize("run_effects", [False, True])
@pytest.mark.parametrize("cluster", ["order", "run"])
def test_variance_is_unbiased_and_df_is_satterthwaites(cluster, run_effects, contrast):
    # The variance is a quadratic form y'Qy of the values; Q by polarization, from outside.
    # Independent errors: its mean is tr(Q), its variance 2 tr(QQ), df = 2 mean^2 / variance.
    one = fit_identity(
        table(orders=3, seeds=2, classes=4), cluster=cluster, run_effects=run_effects
    )
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
    fit, one = fit_identity(frame), frame[frame["order"] == 2]
    ranked = one.sort_values("count", ascending=False)["class"].unique()
    head, tail = ranked[:4].tolist(), ranked[4:].tolist()
    parts = decompose(fit, 2, head, tail)
    logs = np.log10(np.array(COUNTS))
    assert parts.rarity.value == pytest.approx(
        fit.slope.value * (logs[:4].mean() - logs[4:].mean())
    )
    effects = fit.class_effects.set_index("class")["value"]
    assert parts.identity.value == pytest.approx(effects[head].mean() - effects[tail].mean())
    assert parts.total.value == pytest.approx(parts.rarity.value + parts.identity.value)
    assert parts.share == pytest.approx(parts.rarity.value / parts.total.value)
    means = one.groupby("class")["value"].mean()
    assert parts.observed == pytest.approx(means[head].mean() - means[tail].mean())
    known = np.array([EFFECTS[int(name[1:])] for name in ranked])
    assert parts.identity.low < known[:4].mean() - known[4:].mean() < parts.identity.high
    assert parts.rarity.low < 3 * (logs[:4].mean() - logs[4:].mean()) < parts.rarity.high


def labelled(frame: pd.DataFrame) -> xr.DataArray:
    """The table as a labelled array: dimensions order, seed, class."""
    cells = frame.set_index(["order", "seed", "class"])
    values = cells["value"].to_xarray()
    counts = cells.xs(0, level="seed")["count"].to_xarray()
    return values.assign_coords(count=counts)


def test_labelled_values_are_the_same_as_the_table():
    frame = noisy()
    fit, other = fit_identity(frame), fit_identity(labelled(frame))
    assert other.slope == pytest.approx(fit.slope)
    assert decompose(other, 1, ["c0"], ["c1"]) == decompose(fit, 1, ["c0"], ["c1"])


def test_a_seed_that_was_not_trained_is_left_out():
    frame = noisy()
    short = frame[(frame["order"] > 0) | (frame["seed"] == 0)]
    partial = labelled(frame)
    partial.loc[{"order": 0, "seed": 1}] = np.nan
    assert fit_identity(partial).slope == pytest.approx(fit_identity(short).slope)


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


def coverage(cluster: str, shared: float, contrast: tuple, replications: int = 1000) -> float:
    """Share of the 95 % intervals that hold the truth, 4 orders x 2 seeds."""
    frame = table().sort_values(["run", "class"], ignore_index=True)
    generator, hits, mean = np.random.default_rng(0), 0, truth(frame)
    weights = np.array([contrast[1].get(f"c{i}", 0) for i in range(CLASSES)])
    right = 3 * contrast[0] + weights @ EFFECTS
    fit = fit_identity(frame, cluster=cluster)
    for _ in range(replications):
        # The design stays, so what hangs on it alone is computed once.
        fit.frame["value"] = mean + shared_noise(frame, generator, shared)
        found = fit.contrast(*contrast)
        hits += found.low <= right <= found.high
    return hits / replications


SLOPE, GAP = (1.0, {}), (1.1, {f"c{i}": 1 / 4 if i < 4 else -1 / 6 for i in range(CLASSES)})


@pytest.mark.slow
@pytest.mark.parametrize("shared", [0.0, 1.0])
@pytest.mark.parametrize("contrast", [SLOPE, GAP, (0.0, GAP[1])], ids=["slope", "gap", "identity"])
def test_95_percent_intervals_by_order_cover_95_percent(contrast, shared):
    assert 0.93 <= coverage("order", shared, contrast) <= 0.97


@pytest.mark.slow
def test_intervals_by_run_cover_only_if_seeds_of_an_order_share_nothing():
    assert 0.93 <= coverage("run", 0.0, SLOPE) <= 0.97
    assert coverage("run", 1.0, SLOPE) < 0.9


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f: fit_identity(f, cluster="class"), "cluster 'class' is unknown"),
        (lambda f: fit_identity(f, level=95), "between 0 and 1"),
        (lambda f: fit_identity(f.drop(columns="count")), "no column count"),
        (lambda f: fit_identity(f.assign(count=0)), "count at least 1"),
        (lambda f: fit_identity(f.assign(value=math.nan)), "must be finite"),
        (lambda f: fit_identity(f.iloc[1:]), "every class exactly once"),
        (lambda f: fit_identity(f.assign(run=f["seed"])), "every class exactly once"),
        (lambda f: fit_identity(f.assign(order=f.index % 2)), "in two class orders"),
        (lambda f: fit_identity(f.assign(count=7)), "cannot be told apart"),
        (lambda f: fit_identity(f).contrast(0, {"cat": 1}), "class cat is not in the data"),
        (lambda f: fit_identity(f).contrast(0, {"c1": 1}), "sum to 0"),
        (lambda f: fit_identity(labelled(f).drop_vars("count")), "coordinate count"),
        (lambda f: decompose(fit_identity(f), 9, ["c0"], ["c1"]), "order 9 is not in the data"),
        (lambda f: decompose(fit_identity(f), 0, [], ["c1"]), "at least one class each"),
        (lambda f: decompose(fit_identity(f), 0, ["cat"], ["c1"]), "class cat is not"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call(noisy())


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
