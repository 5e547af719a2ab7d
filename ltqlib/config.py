"""What identifies a trained model: :class:`RunConfig`, the profiles, and the digest."""

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ltqlib.errors import InputError

SAMPLERS = ("instance", "square-root", "class")
LOSSES = ("ce", "class-weighted", "ldam-drw", "balanced-softmax", "logit-adjusted")
ARCHITECTURES = ("vgg16", "resnet32")
SCHEDULES = ("cosine", "step", "constant")
AUGMENTATIONS = ("crop-flip", "crop", "none")
DEFERRED = ("none", "reweight", "resample")
STAGE2_NORMS = ("frozen", "shifted")
CHOICES = {
    "sampler": SAMPLERS,
    "loss": LOSSES,
    "arch": ARCHITECTURES,
    "augment": AUGMENTATIONS,
    "schedule": SCHEDULES,
    "deferred": DEFERRED,
    "stage2_norm": STAGE2_NORMS,
}
MOST = 10**12  # of what is counted: beyond every training, and exact in every format
RANGES: dict[str, tuple[type, float, float]] = {  # field -> kind, least, most
    "seed": (int, 0, 2**31),
    "width": (float, 1 / 64, 64),
    "train_images": (int, 1, MOST),
    "epochs": (int, 0, MOST),
    "batch_size": (int, 1, MOST),
    "lr": (float, 1e-12, 1e6),
    "momentum": (float, 0, 1),
    "weight_decay": (float, 0, 1e6),
    "warmup": (float, 0, 1),
    "stage2_images": (int, 1, MOST),
    "stage2_lr": (float, 1e-12, 1e6),
    "mixup": (float, 0, 1e6),
    "sam": (float, 0, 1e6),
    "ema": (float, 0, 1 - 1e-6),
    "swa": (float, 0, 1),
    "smoothing": (float, 0, 1),
    "stage2_smooth_head": (float, 0, 1),
    "stage2_smooth_tail": (float, 0, 1),
    "holdout": (float, 0, 0.5),
}
# what a label always tells, or never
LABELLED = ("profile", "data", "imbalance_factor", "class_order", "seed", "arch", "width")
NATURAL: Literal["natural"] = "natural"  # the imbalance factor of data that keep their own counts
FOLDER = re.compile(r"folder:[0-9a-f]{16}")  # the identity of an image folder: its fingerprint


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides the weights of one trained model, and nothing else.

    Lengths of training are counted in images seen, so that every imbalance factor takes the same
    number of steps and the same time; ``epochs`` (if not 0) overrides that.
    """

    profile: str
    data: str  # cifar10 | digits | folder:<fingerprint>: what the images are, not where they lie
    imbalance_factor: float | Literal["natural"] = 1.0  # n_min / n_max in (0, 1]; 1 is balanced
    seed: int = 0
    class_order: tuple[int, ...] = ()  # class_order[rank] = class; empty is label order
    arch: str = "vgg16"
    width: float = 1.0  # multiplies the channels of every hidden layer
    train_images: int = 600_000  # images seen in stage 1
    epochs: int = 0  # passes over the training set; 0: from train_images
    batch_size: int = 128
    lr: float = 0.05  # peak of the schedule
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup: float = 0.05  # fraction of the steps with a rising learning rate
    augment: str = "crop-flip"  # a key of AUGMENTATIONS
    sampler: str = "instance"
    loss: str = "ce"
    stage2_images: int = 120_000  # images seen in stage 2 (cRT, LWS)
    stage2_lr: float = 0.1
    schedule: str = "cosine"  # of the learning rate in stage 1, after the warm-up: SCHEDULES
    mixup: float = 0.0  # alpha of mixup in stage 1; 0: images are not mixed
    # Recipes; at their defaults nothing of them happens. ltqlib.training says where each is from.
    sam: float = 0.0  # rho of sharpness-aware minimization (Foret et al., 2021); 0: plain SGD
    ema: float = 0.0  # decay of the moving average of the weights that is kept; 0: the last ones
    swa: float = 0.0  # share of the passes, at the end, whose weights are averaged
    smoothing: float = 0.0  # label smoothing of the loss of stage 1
    deferred: str = "none"  # from 80 % of the steps on: re-weight or re-sample the classes
    stage2_smooth_head: float = 0.0  # label-aware smoothing of stage 2 (Zhong et al., 2021): of the
    stage2_smooth_tail: float = 0.0  # most frequent class, and of the rarest one
    stage2_norm: str = "frozen"  # BatchNorm statistics in stage 2; "shifted": moved along
    holdout: float = 0.0  # share of the training images of each class kept for choosing recipes

    def __post_init__(self) -> None:
        validate(self)
        for field in dataclasses.fields(self):  # 1 and 1.0 are the same configuration
            if field.type is float:
                object.__setattr__(self, field.name, float(getattr(self, field.name)))
        if self.imbalance_factor != NATURAL:
            object.__setattr__(self, "imbalance_factor", float(self.imbalance_factor))

    def public(self) -> dict[str, Any]:
        """The configuration as plain JSON values."""
        fields = dataclasses.asdict(self)
        fields["class_order"] = list(self.class_order)
        return fields

    def digest(self) -> str:
        """Twelve hexadecimal digits of a SHA-256; names the run's folder.

        Only fields that differ from their default count, so that a field added later, whose
        default means "as before", leaves every published digest as it is.
        """
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        defaults["class_order"] = []
        told = {key: value for key, value in self.public().items() if value != defaults[key]}
        text = json.dumps(told, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def label(self) -> str:
        """A short name for a reader: ``laptop vgg16 x0.25 IF 0.01 seed 0 mixup 1``.

        It ends with the fields of the recipe that differ from the profile's.
        """
        factor = factor_label(self.imbalance_factor)
        order = "" if not self.class_order else " order " + "".join(map(str, self.class_order))
        usual, recipe = PROFILES.get(self.profile, {}), ""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name not in LABELLED and value != usual.get(field.name, field.default):
                told = f"{value:g}" if isinstance(value, float) else value
                recipe += f" {field.name} {told}"
        name = f"{self.profile} {self.arch} x{self.width:g}"
        return f"{name} {factor} seed {self.seed}{order}{recipe}"


def factor_label(imbalance_factor: float | Literal["natural"]) -> str:
    """An imbalance factor for a reader: ``balanced``, ``natural`` or ``IF 0.01``."""
    if isinstance(imbalance_factor, str):
        return imbalance_factor
    return "balanced" if imbalance_factor == 1 else f"IF {imbalance_factor:g}"


PROFILES: dict[str, dict[str, Any]] = {
    # seconds: scikit-learn's digits, 3 % of the width; for tests and the live page
    "smoke": {
        "data": "digits",
        "width": 1 / 16,
        "train_images": 16_000,
        "batch_size": 64,
        "augment": "crop",
        "stage2_images": 2_000,
    },
    # one CPU core with bfloat16 units: 23 to 40 minutes a network
    "laptop": {"data": "cifar10", "width": 0.25, "epochs": 200},
    # a GPU: full width and the long-tail literature's 200 epochs
    "paper": {"data": "cifar10", "width": 1.0, "epochs": 200, "lr": 0.1, "stage2_images": 500_000},
    # an hour and a half of a core with bfloat16 units: the literature's network with the recipe of
    # LDAM-DRW (Cao et al., 2019), and the second stage of Kang et al. (2020)
    "resnet": {
        "data": "cifar10",
        "arch": "resnet32",
        "epochs": 200,
        "lr": 0.1,
        "weight_decay": 2e-4,
        "warmup": 5 / 200,
        "schedule": "step",
        "stage2_lr": 0.2,
    },
}


def from_profile(profile: str, **changes: Any) -> RunConfig:
    """The configuration of ``profile`` with some fields changed.

    Raises:
        InputError: unknown profile or field, or a value that makes no sense.
    """
    if not isinstance(profile, str) or profile not in PROFILES:
        raise InputError(f"profile {brief(profile)} is unknown: use one of {', '.join(PROFILES)}")
    return from_dict({"profile": profile, **PROFILES[profile], **changes})


def from_dict(fields: dict[str, Any]) -> RunConfig:
    """A configuration from plain values, as a record holds them.

    Raises:
        InputError: a key that :class:`RunConfig` does not have, or a bad value.
    """
    if not isinstance(fields, Mapping):
        raise InputError(f"configuration {brief(fields)} is no mapping of fields to values")
    known = {field.name for field in dataclasses.fields(RunConfig)}
    if unknown := sorted(set(fields) - known, key=str):
        raise InputError(
            f"unknown configuration key {brief(unknown[0])}: the keys are "
            f"{', '.join(sorted(known))}"
        )
    if missing := [name for name in ("profile", "data") if name not in fields]:
        raise InputError(f"the configuration has no {missing[0]!r}: give it")
    values = dict(fields)
    if isinstance(values.get("class_order"), list):  # as JSON holds it
        values["class_order"] = tuple(values["class_order"])
    return RunConfig(**values)


def validate(config: RunConfig) -> None:
    """Refuse a configuration that makes no sense.

    Raises:
        InputError: naming the first field that is wrong and what it may be.
    """
    name = config.profile
    if not isinstance(name, str) or not name or not name.isprintable():
        raise InputError(f"profile {brief(name)} is no name: use one of {', '.join(PROFILES)}")
    check_imbalance_factor(config.imbalance_factor)
    _check_source(config.data)
    for name, allowed in CHOICES.items():
        value = getattr(config, name)
        if not isinstance(value, str) or value not in allowed:
            raise InputError(f"{name} {brief(value)} is unknown: use one of {', '.join(allowed)}")
    for name, (kind, low, high) in RANGES.items():
        _check_number(name, getattr(config, name), kind, low, high)
    _check_class_order(config)


def _check_class_order(config: RunConfig) -> None:
    order = config.class_order
    if not isinstance(order, tuple) or not all(type(label) is int for label in order):
        raise InputError(f"class_order {brief(order)} is not a tuple of labels")
    if sorted(order) != list(range(len(order))):
        raise InputError(f"class_order {brief(order)} is not a permutation: list every class once")
    if config.imbalance_factor == NATURAL and order:
        raise InputError(
            f"class_order {brief(order)} with imbalance_factor '{NATURAL}': the data's own counts "
            "rank the classes; leave class_order out"
        )


def _check_number(name: str, value: object, kind: type, low: float, high: float) -> None:
    """Refuse what is no number of ``kind`` (int, or float that may be an int) in [low, high]."""
    right = isinstance(value, (int, kind)) and not isinstance(value, bool)
    if not right or not low <= value <= high:  # type: ignore[operator]
        words = "a whole number" if kind is int else "a number"
        limit = f" and at most {high:g}"
        raise InputError(f"{name} is {brief(value)}: it must be {words} of at least {low:g}{limit}")


def check_imbalance_factor(value: Any) -> None:
    """Refuse what is neither n_min/n_max in (0, 1] nor ``natural``.

    Raises:
        InputError: saying what the value is and what it may be.
    """
    if isinstance(value, str) and value == NATURAL:
        return
    right = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not right or not -math.inf < value < math.inf:
        raise InputError(
            f"imbalance_factor {brief(value)} is not a number: give n_min/n_max in (0, 1], or "
            f"'{NATURAL}' for the data's own counts"
        )
    if value > 1:
        raise InputError(
            f"imbalance_factor {brief(value)} is above 1: it is n_min/n_max; use its reciprocal "
            f"{1 / min(value, 1e300):g}"
        )
    if value <= 0:
        raise InputError(f"imbalance_factor {brief(value)} is not in (0, 1]: it is n_min/n_max")


def _check_source(source: object) -> None:
    if isinstance(source, str) and (source in ("cifar10", "digits") or FOLDER.fullmatch(source)):
        return
    if isinstance(source, str) and source.startswith("folder:"):
        raise InputError(
            f"data source {brief(source)} is a place: a configuration names a folder by its "
            "contents, folder:<fingerprint>; take the identity of load_data('folder:PATH')"
        )
    raise InputError(
        f"data source {brief(source)} is unknown: use one of cifar10, digits, folder:<fingerprint>"
    )


def brief(value: object) -> str:
    """``repr`` of any value, on one line of at most 80 characters, for a message."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # a whole number of more than 4,300 digits, among others
        text = f"of type {type(value).__name__}"
    text = "".join(c if c.isprintable() else "?" for c in text)
    return text if len(text) <= 80 else text[:77] + "..."
