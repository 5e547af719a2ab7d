"""``ltq run``: train, decouple and evaluate one network; what is stored is read."""

import argparse
import dataclasses
import json
import os
import sys
from typing import TYPE_CHECKING, Any

import ltqlib as ltq
from ltqlib.config import CHOICES, MOST, PROFILES, RANGES, RunConfig, from_profile
from ltqlib.errors import InputError

if TYPE_CHECKING:
    from ltqlib.experiment import Networks

STEPS = ("train", "decouple", "evaluate")
DEVICES = ("auto", "cpu", "cuda", "mps")
# fields of a configuration with options of their own; all others are the recipe's
NAMED = ("profile", "data", "imbalance_factor", "class_order", "seed")
RECIPE = [field for field in dataclasses.fields(RunConfig) if field.name not in NAMED]


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``ltq run``: which network, how far, on what, and one for each field."""
    parser.add_argument("--profile", default="laptop", help=f"one of {', '.join(PROFILES)}")
    parser.add_argument("--data", help="cifar10, digits or folder:PATH; left out: the profile's")
    parser.add_argument("--imbalance-factor", default=0.01, type=_factor, metavar="X",
                        help="n_min/n_max in (0, 1], or natural")  # fmt: skip
    parser.add_argument("--class-order", default="label", metavar="LABELS",
                        help="from most to least frequent, 9,8,7,...; or label, reversed, "
                        "random-1, random-2")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--until", default=STEPS[-1], choices=STEPS, help="the last step")
    parser.add_argument("--device", default="auto", choices=DEVICES)
    parser.add_argument("--threads", type=int, metavar="N", help="of the CPU; left out: all")
    parser.add_argument("--json", action="store_true", help="one JSON line at the end")
    recipe = parser.add_argument_group("recipe", "fields that differ from the profile's")
    for field in RECIPE:
        recipe.add_argument(f"--{field.name.replace('_', '-')}", **_option(field.name))


def _option(name: str) -> dict[str, Any]:
    """Type and help of a field of a configuration, as argparse takes them."""
    if name in CHOICES:
        return {"choices": CHOICES[name]}
    kind, low, high = RANGES[name]
    told = f"at least {low:g}" + ("" if high >= MOST else f", at most {high:g}")
    return {"type": kind, "metavar": "N" if kind is int else "X", "help": told}


def _factor(text: str) -> float | str:
    """A number, or a word that is checked later."""
    try:
        return float(text)
    except ValueError:
        return text


def main(options: argparse.Namespace) -> int:
    """Compute what is not stored, up to ``--until``."""
    given = {field.name: getattr(options, field.name) for field in RECIPE}
    recipe = {name: value for name, value in given.items() if value is not None}
    asked = from_profile(options.profile, seed=options.seed, **recipe)  # refused before any work
    _check_device(options.device)
    _use_threads(options.threads)
    order = _class_order(options.class_order)
    data = ltq.load_data(options.data or asked.data, options.imbalance_factor, order)
    networks = ltq.train(
        data, profile=options.profile, seeds=[options.seed], device=options.device, **recipe
    )
    if options.until != "train":
        ltq.decouple(networks, "crt", options.device)
    if options.until == "evaluate":
        evaluate(networks)
    (network,) = networks
    if options.json:
        print(json.dumps({"digest": network.digest, "config": network.config.public()}))
    else:
        print(f"{network.digest}  {network.config.label()}: {options.until}, done")
    return 0


def evaluate(networks: "Networks") -> None:
    """What chapter 3 asks of every network; a page computes what else it needs when it asks."""
    from ltqlib.experiment.networks import CLASSIFIERS

    crt = ltq.decouple(networks, "crt")
    ltq.evaluate({"baseline": networks, "crt": crt})
    grids = ["w-tensor", "w-channel", "wa-tensor", "wa-mse"]
    ltq.evaluate(networks, bits=[32, 6, 5, 4], method=grids)
    ltq.sensitivity(crt, bits=[4])
    for name in CLASSIFIERS[1:]:
        ltq.evaluate(ltq.decouple(networks, name), bits=[32])


def _class_order(text: str) -> tuple[int, ...] | str:
    """Labels as numbers; a name stays one."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        return text


def _check_device(device: str) -> None:
    """Refuse a device that this machine does not have, before any work is done."""
    if device in ("auto", "cpu"):
        return
    import torch

    there = torch.cuda.is_available() if device == "cuda" else torch.backends.mps.is_available()
    if not there:
        raise InputError(f"--device {device}: this machine has none; use auto or cpu")


def _use_threads(threads: int | None) -> None:
    """So many threads for torch, without importing it where nothing has to be computed."""
    if threads is None:
        return
    if threads < 1:
        raise InputError(f"--threads is {threads}: give at least 1")
    os.environ["OMP_NUM_THREADS"] = str(threads)  # torch reads it when it is imported
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
