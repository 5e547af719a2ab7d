"""Other networks and schedules beside the main evidence, and beside what others published."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from ltqlib.first import evidence
from ltqlib.first.evidence import FACTORS, GROUPS, Outcomes, Replicates
from ltqlib.first.tables import accuracy_table, extra_by_seed, words

NARROW, HALF, FULL = "VGG16, narrow", "VGG16, half width", "VGG16, full width"
LONGER, MIXED, MIXED_LONGER = f"{NARROW}, longer", f"{NARROW}, mixup", f"{NARROW}, longer, mixup"
MIXED_FULL = f"{FULL}, longer, mixup"
RESNET, WHOLE_RESNET = "ResNet-32, shortened", "ResNet-32, whole recipe"
VARIANTS: dict[str, dict[str, Any]] = {  # what is changed of the book's profile, or another one
    NARROW: {},
    LONGER: {"train_images": 600_000},
    MIXED: {"mixup": 1.0},
    MIXED_LONGER: {"train_images": 600_000, "mixup": 1.0},
    HALF: {"width": 0.5},
    FULL: {"width": 1.0},
    MIXED_FULL: {"width": 1.0, "train_images": 600_000, "mixup": 1.0},
    "VGG16, whole recipe": {"profile": "paper"},
    RESNET: {"profile": "resnet", "train_images": 150_000, "epochs": 0},
    WHOLE_RESNET: {"profile": "resnet"},
}
WIDTHS = (NARROW, HALF, FULL)
MODELS = ("baseline", "crt")
GAP = "gap"  # head less tail

Opened = Mapping[tuple[str, float], Replicates]  # by variant and imbalance factor


def open_variants(profile: str, factors: Sequence[float] = FACTORS) -> Opened:
    """The replicates of every variant that was trained, by its name and imbalance factor.

    Args:
        profile: of the variants that name none.
    """
    found = {}
    for (name, changes), factor in itertools.product(VARIANTS.items(), factors):
        replicates = evidence.open_replicates(**{"profile": profile} | changes,
                                              imbalance_factor=factor)  # fmt: skip
        if replicates.first.has("decouple"):
            found[name, factor] = replicates
    return found


def accuracies(opened: Opened, methods: Sequence[str] = MODELS) -> pd.DataFrame:
    """Accuracy in percent; a row a variant (column ``network``), factor, method and group."""
    tables = [
        accuracy_table([replicates], methods).assign(network=name, seeds=len(replicates.runs))
        for (name, _), replicates in opened.items()
    ]
    return pd.concat(tables, ignore_index=True)


def changes(
    opened: Opened,
    first: str,
    second: str,
    methods: Sequence[str] = MODELS,
    outcomes: Callable[[Replicates, str], Outcomes] = Replicates.floating,
) -> pd.DataFrame:
    """Accuracy of the second variant less that of the first, the same seeds and test images.

    Args:
        outcomes: what is compared instead of accuracy, of replicates and a method.

    Returns:
        Points; a row a factor that both have, method, and group or ``gap``, with the number of
        ``seeds`` that both have.
    """
    rows = []
    for factor in FACTORS:
        if (first, factor) not in opened or (second, factor) not in opened:
            continue
        one, two = evidence.in_common(opened[first, factor], opened[second, factor])
        for method in methods:
            gained = outcomes(two, method) - outcomes(one, method)
            estimates = {group: one.estimate(gained, one.groups[group]) for group in GROUPS}
            estimates[GAP] = one.estimate(gained, one.groups["head"], one.groups["tail"])
            for group, found in estimates.items():
                rows.append((factor, method, group, len(one.runs), *found[:3]))
    columns = ["imbalance_factor", "method", "group", "seeds", "value", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def published() -> dict[str, dict[str, Mapping[float, float]]]:
    """Overall accuracy in percent that others report: ``{architecture: {method: {factor: %}}}``.

    Of ``vgg16`` what the post reports, of ``resnet32`` what the literature does.
    """
    told = evidence.reported()
    post, literature = told["table1"], told["literature"]
    of_post = {"baseline": post["baseline"], "crt": post["decoupling"]}
    return {
        "vgg16": {m: {f: row[0] for f, row in table.items()} for m, table in of_post.items()},
        "resnet32": {"baseline": literature["cross_entropy"], "crt": literature["crt"]},
    }


def distances(opened: Opened) -> pd.DataFrame:
    """Overall accuracy beside what others published, in percent, and the difference in points.

    A row a variant, factor and method for which there is a published figure.
    """
    told, rows = published(), []
    for (name, factor), replicates in opened.items():
        for method, figures in told[replicates.first.config.arch].items():
            if factor in figures:
                members = replicates.groups["norm"]
                found = replicates.estimate(replicates.floating(method), members)
                away = found.value - figures[factor]
                rows.append((name, factor, method, found.value, found.sd_seeds,
                             figures[factor], away, len(replicates.runs)))  # fmt: skip
    columns = ["network", "imbalance_factor", "method", "accuracy", "sd",
               "published", "distance", "seeds"]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def lost_to_bits(
    opened: Opened, scheme: str, bits: int, methods: Sequence[str] = MODELS
) -> pd.DataFrame:
    """Points that head and tail lose at ``bits``, and the tail beyond the head, with intervals.

    A row a variant, factor and method that has quantized models; the last three columns hold the
    extra loss of the tail as numbers.
    """
    rows = []
    for (name, factor), measured in evidence.measured(opened, "ptq").items():
        head, tail = measured.groups["head"], measured.groups["tail"]
        for method in methods:
            lost = measured.lost(method, scheme, bits)
            extra = measured.estimate(lost, tail, head)
            alone = (words(measured.estimate(lost, group)) for group in (head, tail))
            rows.append((name, factor, method, len(measured.runs), *alone, *extra[:3]))
    columns = ["network", "imbalance_factor", "method", "seeds", "head", "tail",
               "value", "low", "high"]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def extra_by_width(
    opened: Opened, method: str, scheme: str, bits: int, factor: float
) -> pd.DataFrame:
    """What the tail loses beyond the head at ``bits``, in VGG16s of growing width.

    A row a network that has quantized models and a seed, or ``all`` of its seeds; see
    :func:`ltqlib.first.tables.extra_by_seed`.
    """
    measured = evidence.measured(opened, "ptq")
    rows = [
        extra_by_seed(measured[name, factor], method, scheme, (bits,)).assign(network=name)
        for name in WIDTHS
        if (name, factor) in measured
    ]
    return pd.concat(rows, ignore_index=True)
