"""Tables of an audit, from outcomes that are planted or drawn: counts by hand, exact coverage."""

import itertools

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from ltqlib.data import HALVES, half_mask
from ltqlib.deploy import findings, limits
from ltqlib.deploy.limits import AMBER, GREEN, RED, Limits
from ltqlib.errors import InputError

CLASSES, EACH = ["a", "b", "c", "d"], 40


def outcomes(**calls: np.ndarray) -> xr.Dataset:
    """Four classes of 40 images, a and b the head; each configuration's calls (160,)."""
    labels = np.repeat(np.arange(4), EACH)
    names = ["float", *calls]
    predicted = np.stack([labels, *calls.values()])
    head = labels < 2
    rng = np.random.default_rng(0)
    margin = np.where(predicted > 1, 1, -1) * rng.uniform(0.1, 2, predicted.shape)
    data = {
        "predicted": predicted,
        "matched": predicted,
        "best_head": np.where(predicted < 2, predicted, 0),
        "best_tail": np.where(predicted > 1, predicted, 2),
        "margin": margin.astype(np.float32),
    }
    kinds = ["float"] + ["uniform"] * len(calls)
    return xr.Dataset(
        {name: (("configuration", "image"), value) for name, value in data.items()},
        {
            "configuration": names,
            "kind": ("configuration", kinds),
            "method": ("configuration", ["w"] * len(names)),
            "mean_bits": ("configuration", [32.0, *(8.0 - k for k in range(len(calls)))]),
            "size": ("configuration", [100, *(50 - k for k in range(len(calls)))]),
            "label": ("image", labels),
            "group": ("image", np.where(head, "head", "tail")),
            "side": ("image", np.where(head, "head", "tail")),
            "half": ("image", np.where(half_mask(labels), *HALVES)),
        },
        {"classes": CLASSES, "counts": [50, 40, 9, 3]},
    )


def wrong(count: int, label: int = 3, half: str | None = None, call: int = 0) -> np.ndarray:
    """All right but for so many images of one class (of one half)."""
    labels = np.repeat(np.arange(4), EACH)
    mine = labels == label
    if half:
        mine &= np.where(half_mask(labels), *HALVES) == half
    labels[np.flatnonzero(mine)[:count]] = call
    return labels


def test_a_class_that_is_hurt_is_found_with_its_exact_test() -> None:
    table = findings.by_class(outcomes(low=wrong(12)), "low")
    row = table.loc["d"]
    told = row[["lost", "float", "images", "training"]].astype(float).tolist()
    assert told == pytest.approx([30, 100, 40, 3])
    assert row["p"] == pytest.approx(stats.binomtest(0, 12).pvalue)
    assert row["holm"] == pytest.approx(4 * row["p"])
    assert table["hurt"].to_dict() == {"a": False, "b": False, "c": False, "d": True}
    assert row["low"] < 30 < row["high"]


@pytest.mark.parametrize("images", [3, 10, 40])
@pytest.mark.parametrize("shares", [(0.02, 0.02), (0.2, 0.05), (0.4, 0.1)], ids=str)
def test_intervals_of_a_class_cover_exactly_enumerated(
    images: int, shares: tuple[float, float]
) -> None:
    b, c = (np.array(x) for x in zip(*itertools.product(range(images + 1), repeat=2), strict=True))
    b, c = b[b + c <= images], c[b + c <= images]
    rest = 1 - sum(shares)
    chance = stats.multinomial.pmf(np.stack([b, c, images - b - c], 1), images, [*shares, rest])
    low, high = findings.paired_interval(b, c, images)
    truth = 100 * (shares[0] - shares[1])
    assert chance[(low <= truth) & (truth <= high)].sum() > 0.93


def test_confusions_and_flips_are_those_counted_by_hand() -> None:
    calls = wrong(5, label=3, call=1)
    calls[:2] = 2
    found = outcomes(low=calls)
    table = findings.confusions(found, "low")
    told = table[["class", "float", "now", "change", "images"]].to_numpy().tolist()
    assert told == [["d", "d", "b", "lost", 5], ["a", "a", "c", "lost", 2]]
    flipped = findings.flips(found, "low")
    assert flipped["image"].tolist() == [0, 1, 120, 121, 122, 123, 124]
    assert findings.positions(found, "low", 6) == [120, 121, 122, 123, 124, 0]


def test_groups_are_means_over_classes() -> None:
    table = findings.by_group(outcomes(low=wrong(12)))
    assert table.loc[("as it is", "low", "tail"), "value"] == pytest.approx(15)
    assert table.loc[("as it is", "low", "norm"), "value"] == pytest.approx(7.5)
    assert table.loc[("as it is", "low", "head"), "value"] == 0
    assert "at equal head" in table.index.get_level_values("how")


def test_at_best_points_a_moved_balance_is_no_loss() -> None:
    """An offset on the tail's logits changes calls and not the curve."""
    planted = outcomes(low=wrong(0), moved=wrong(0))
    offset = xr.where(planted["configuration"] == "moved", 0.7, 0.0)
    margin = (planted["margin"] - offset).astype(np.float32)
    called = xr.where(margin > 0, planted["best_tail"], planted["best_head"])
    table = findings.by_group(planted.assign(margin=margin, predicted=called)).loc
    assert table[("as it is", "moved", "tail"), "value"] > 10
    assert table[("at best point", "moved", "norm"), "value"] == 0


def test_at_best_points_a_broken_class_is_a_loss() -> None:
    lost = findings.by_group(outcomes(low=wrong(12))).loc[("at best point", "low", "norm")]
    assert 5 < lost["value"] < 8
    assert lost["low"] < lost["value"] < lost["high"]


def test_the_choice_sees_one_half_and_the_verdict_the_other() -> None:
    planted = outcomes(big=wrong(0), trap=wrong(20, half="judge"))
    wanted = Limits(max_tail_drop=5)
    chosen = limits.recommend(planted, wanted)
    assert chosen[0] == "trap"  # on the half that chooses it loses nothing, and it is smaller
    verdict = limits.judge(planted, wanted, chosen)
    assert verdict["light"].tolist() == [RED]
    assert verdict["value"].tolist() == [pytest.approx(50)]
    other = outcomes(big=wrong(0), trap=wrong(20, half="choose"))
    assert limits.recommend(other, wanted)[0] == "big"


def test_limits_on_size_and_classes() -> None:
    planted = outcomes(big=wrong(0), small=wrong(30))
    assert limits.recommend(planted, Limits(max_size=60))[0] == "big"  # loses least
    chosen = limits.recommend(planted, Limits(max_size=49))
    assert chosen[0] == "small"  # nothing else fits
    told = limits.judge(planted, Limits(49, 10, 50), chosen)
    assert told["light"].to_dict() == {
        "model file, bytes": GREEN, "tail, points lost": GREEN, "any class, points lost": RED
    }  # fmt: skip
    assert told.loc["any class, points lost", "class"] == "d"
    assert limits.recommend(planted, Limits(None, 10, 50))[0] == "big"  # a class of the other loses
    chance = limits.judge(outcomes(low=wrong(2, half="judge")), Limits(None, 9), ("low", False))
    assert chance.loc["any class, points lost", "light"] == AMBER  # two of twenty images


def test_lights_of_widths() -> None:
    told = limits.of_widths(outcomes(fine=wrong(0), maybe=wrong(3), bad=wrong(20)), Limits())
    assert told["light"].tolist() == [GREEN, AMBER, RED]
    assert told["hurt"].tolist() == [0, 0, 1]


def test_the_best_method_is_chosen_on_one_half() -> None:
    planted = outcomes(a=wrong(3), b=wrong(9, half="judge"))
    planted["mean_bits"][:] = [32, 4, 4]
    assert limits.least_lost(planted) == "b"


def test_a_half_without_the_tail_is_refused() -> None:
    planted = outcomes(low=wrong(3))
    planted = planted.isel(image=planted["side"].values == "head")
    with pytest.raises(InputError, match="two images of a class are needed"):
        findings.half_of(planted, "choose")


@pytest.mark.parametrize("wrong_limit", [-1, float("nan"), float("inf")])
def test_limits_that_make_no_sense(wrong_limit: float) -> None:
    with pytest.raises(InputError, match="max_tail_drop"):
        Limits(max_tail_drop=wrong_limit)
