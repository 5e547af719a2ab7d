"""``ltq audit``: what quantization does to each class of a classifier, and which widths to ship."""

import argparse
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltqlib.errors import InputError

if TYPE_CHECKING:
    from ltqlib.deploy.subject import Subject

UNITS = {"": 1, "B": 1, "KB": 1_000, "MB": 1_000_000, "GB": 1_000_000_000}
BROKEN = 3  # exit code: a limit that was given is broken
DIGEST = re.compile(r"(?:ltq:)?([0-9a-f]{4,12})(?::([a-z-]+))?")


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``ltq audit``: what, on which images, within which limits."""
    add = parser.add_argument
    add("--model", required=True, metavar="MODEL",
        help="package.module:callable, torchvision:resnet18, timm:NAME, FILE.onnx, or the digest "
        "of a network that `ltq show` lists, DIGEST or DIGEST:crt")  # fmt: skip
    add("--weights", metavar="FILE", help="safetensors, or a state dictionary; never unpickled")
    add("--data", metavar="SOURCE", help="folder:PATH with train/<class>/ and test/<class>/")
    add("--out", default="report", metavar="FOLDER", help="report.html, report.json, the model")
    add("--size", type=int, metavar="PIXELS", help="of a side; left out, what most images have")
    add("--mean", type=_three, metavar="R,G,B", help="of pixels / 255; left out, ImageNet's")
    add("--std", type=_three, metavar="R,G,B")
    add("--pixels", action="store_true", help="the model takes pixels from 0 to 255 itself")
    add("--unlabelled", metavar="PATH", help="images with the mix of classes to be met")
    add("--test", action="append", default=[], metavar="NAME=PATH", help="a further test set")
    add("--shift", action="store_true", help="test on noise, blur, low contrast and JPEG as well")
    add("--bits", type=_bits, default=(8, 6, 4), metavar="N,N", help="widths; 8,6,4")
    add("--method", default="w-channel", help="how values are rounded; w-channel")
    add("--methods", type=_words, metavar="NAME,NAME", help="compared with it at the fewest bits")
    add("--groups", default="head-tail", help="head-tail or many-medium-few")
    add("--max-size", type=_size, metavar="SIZE", help="of the model: 900kB, 2.5MB, or bytes")
    add("--max-class-drop", type=float, metavar="POINTS", help="that any class may lose")
    add("--max-tail-drop", type=float, metavar="POINTS", help="that the rare classes may lose")
    add("--quick", action="store_true", help="a sample of the test images, in about a minute")
    add("--dry-run", action="store_true", help="say how long it takes, and leave")


def main(options: argparse.Namespace) -> int:
    """Audit, write the report, say what was found; 3 where a limit is broken."""
    from ltqlib.deploy.audit import METHODS, audit_subject
    from ltqlib.deploy.limits import Limits
    from ltqlib.deploy.plan import plan

    limits = Limits(options.max_size, options.max_class_drop, options.max_tail_drop)
    out = Path(options.out)
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file: name a folder")
    subject = _subject(options)
    planned = plan(subject, options.bits, out / "work" if not options.dry_run else None)
    images = planned.quick if options.quick else None
    print(planned.told(images), flush=True)
    if options.dry_run:
        return 0
    started = time.monotonic()
    found = audit_subject(
        subject, limits, options.bits, method=options.method, images=images, out=out,
        methods=METHODS if options.methods is None else options.methods,
    )  # fmt: skip
    return _report(found, out, time.monotonic() - started)


def _report(found: Any, out: Path, seconds: float) -> int:
    from ltqlib.deploy.limits import given
    from ltqlib.deploy.report import broken, write_report

    path = write_report(out)
    name, repaired = found.recommended
    print(f"recommended: {name}{', repaired (class shares matched)' * repaired}")
    mine = given(found.limits)
    for limit, row in found.verdicts.iterrows():
        word = "limit" if mine[str(limit)] else "no limit was given; tolerated"
        print(f"{limit}: {row['value']:.4g} ({word} {row['most']:.4g}): {row['light']}")
    print(f"{path} after {seconds:.0f} s")
    return BROKEN if broken(found) else 0


def _subject(options: argparse.Namespace) -> "Subject":
    """Data first, for they say how many classes the model has."""
    import ltqlib as ltq

    if match := DIGEST.fullmatch(options.model):
        return _own(options, *match.groups())
    if options.data is None:
        raise InputError("--data is missing: give folder:PATH with train/<class>/, test/<class>/")
    from ltqlib.data import SIZE
    from ltqlib.deploy.from_onnx import side_of
    from ltqlib.deploy.images import usual_side
    from ltqlib.deploy.loading import ZOOS, find_model, load_weights
    from ltqlib.deploy.subject import IMAGENET

    folder = options.data.removeprefix("folder:")
    in_onnx = options.model.endswith(".onnx")
    if in_onnx and options.weights:
        raise InputError(f"{options.model} has its weights: leave out --weights")
    fixed = side_of(options.model) if in_onnx else None
    size = options.size or fixed or (SIZE if folder == options.data else usual_side(folder))
    data = ltq.load_data(options.data, "natural", groups=options.groups, size=size)
    model: Any = options.model if in_onnx else find_model(options.model, len(data.classes))
    if options.weights:
        load_weights(model, Path(options.weights))
    elif options.model.partition(":")[0] in ZOOS:
        raise InputError(f"--weights is missing: {options.model} has random weights")
    mean, std = (options.mean or IMAGENET[0], options.std or IMAGENET[1])
    return _prepared(options, model, data, None if options.pixels else (mean, std), options.model)


def _own(options: argparse.Namespace, digest: str, classifier: str | None) -> "Subject":
    """A network of the store, on its own data unless others are named."""
    import ltqlib as ltq
    from ltqlib.config import from_dict
    from ltqlib.evidence import store
    from ltqlib.experiment.networks import CLASSIFIERS
    from ltqlib.experiment.trained import Trained

    matches = [one for one in store.digests() if one.startswith(digest)]
    if len(matches) != 1:
        raise InputError(f"{digest!r} names {len(matches)} networks: `ltq show` lists the digests")
    record = store.find_record(matches[0])
    assert record is not None
    config = from_dict(record["config"])
    source = options.data or config.data
    if source.startswith("folder:") and options.data is None:
        raise InputError(f"network {matches[0]} was trained on a folder: name it with --data")
    data = ltq.load_data(source, config.imbalance_factor, config.class_order)
    kind = classifier or CLASSIFIERS[0]
    if kind not in CLASSIFIERS:
        raise InputError(f"classifier {kind!r} is unknown: use one of {', '.join(CLASSIFIERS)}")
    trained = Trained(config, data, kind)
    return _prepared(options, trained.load(), data, None, f"{config.label()}, {kind}")


def _prepared(
    options: argparse.Namespace, model: Any, data: Any, normalize: Any, name: str
) -> "Subject":
    from ltqlib.deploy.images import read_test, read_unlabelled
    from ltqlib.deploy.shift import corrupted
    from ltqlib.deploy.subject import prepare

    size = data.test.images.shape[1]
    tests = {"test": data.test}
    for given in options.test:
        called, equals, place = given.partition("=")
        if not equals or not called or called in tests:
            raise InputError(f"--test {given!r}: give NAME=PATH, each name once")
        tests[called] = read_test(called, place, data, size)
    if options.shift:
        tests |= corrupted(data.test)
    free = read_unlabelled(options.unlabelled, size) if options.unlabelled else None
    return prepare(model, data, tests, normalize=normalize, unlabelled=free, name=name)


def _bits(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in text.split(",") if word)


def _three(text: str) -> tuple[float, ...]:
    values = tuple(float(part) for part in text.split(","))
    if len(values) != 3:
        raise argparse.ArgumentTypeError(f"{text!r}: give three numbers")
    return values


def _size(text: str) -> float:
    match = re.fullmatch(r"([0-9.]+)\s*([KMG]?B)?", text.strip(), re.I)
    try:
        return float(match[1]) * UNITS[(match[2] or "").upper()]  # type: ignore[index]
    except (TypeError, ValueError):
        raise argparse.ArgumentTypeError(
            f"{text!r}: give bytes, or a number with kB or MB"
        ) from None
