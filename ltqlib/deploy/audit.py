"""``audit``: will quantizing a classifier hurt its rare classes, and which widths to ship?"""

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from ltqlib.allocation import InfeasibleError, allocate
from ltqlib.config import brief
from ltqlib.deploy import findings
from ltqlib.deploy.audited import Audit
from ltqlib.deploy.limits import Limits, recommend
from ltqlib.errors import InputError

if TYPE_CHECKING:
    from ltqlib.deploy.bench import Bench, Configuration
    from ltqlib.deploy.subject import Subject

BITS = (8, 6, 4)
METHOD = "w-channel"  # weights alone, a symmetric min-max grid an output channel
METHODS = ("w-tensor", "corrected-channel")  # compared with it at the fewest bits; GPTQ is slow
EXAMPLES, SIDE = 24, 64  # images shown, and pixels of their side, at most


def audit(
    model: Any,
    calibration: Any,
    test: Any,
    bits: Sequence[int] = BITS,
    groups: Any = None,
    *,
    normalize: tuple[Sequence[float], Sequence[float]] | None = None,
    unlabelled: Any = None,
    method: str = METHOD,
    methods: Sequence[str] = METHODS,
    max_size: float | None = None,
    max_class_drop: float | None = None,
    max_tail_drop: float | None = None,
    images: int | None = None,
    out: Path | str | None = None,
    name: str = "",
) -> Audit:
    """What quantization does to each class of a classifier, and which widths to ship.

    Args:
        model: a torch classifier of pixels (B, 3, H, W) from 0 to 255, logits out; its graph;
            or the path of a float ONNX model.
        calibration: training images as they are: uint8 (N, H, W, 3), or (images, labels), or what
            :func:`ltqlib.load_data` returns. At most 1,000 are used.
        test: a :class:`ltqlib.Split`, (images, labels), a source such as ``folder:PATH``, or
            several by name; everything is chosen and judged on the first.
        bits: widths of the weights.
        groups: as in :func:`ltqlib.load_data`; ``head`` (else what is not ``tail``, else the first
            group) is the head, all other classes are the tail. Left out: those of the test images,
            or from the training counts.
        normalize: (mean, std) of channels, where the model takes ``(pixels / 255 - mean) / std``.
        unlabelled: images for the repair without labels; left out, the calibration images.
        method: how weights (and inputs, where it does) are rounded, a local one.
        methods: others, compared with it at the fewest bits.
        max_size, max_class_drop, max_tail_drop: limits, see :class:`ltqlib.deploy.limits.Limits`.
        images: judge on a sample of so many test images.
        out: a folder: what was computed is kept in ``work/`` and found again, the result is in
            ``data/``, the recommended model beside it.
        name: of the model, for people.

    Returns:
        :class:`Audit`.

    Raises:
        InputError: images, groups, limits or a model that make no sense; each says what to do.
    """
    from ltqlib.deploy.subject import prepare

    limits = Limits(max_size, max_class_drop, max_tail_drop)
    _checked(bits, method, methods)
    subject = prepare(
        model, calibration, test, groups=groups, normalize=normalize, unlabelled=unlabelled,
        name=name,
    )  # fmt: skip
    return audit_subject(
        subject, limits, bits, method=method, methods=methods, images=images, out=out
    )


def audit_subject(
    subject: "Subject",
    limits: Limits,
    bits: Sequence[int] = BITS,
    *,
    method: str = METHOD,
    methods: Sequence[str] = METHODS,
    images: int | None = None,
    out: Path | str | None = None,
) -> Audit:
    """:func:`audit` of what :func:`.subject.prepare` returned."""
    from ltqlib.deploy.bench import Bench, Work

    started, folder = time.perf_counter(), None if out is None else Path(out)
    widths = _checked(bits, method, methods)
    whole = len(subject.test)
    if images is not None:
        subject = subject.sample(images)
    bench = Bench(subject, Work(None if folder is None else folder / "work"))
    choose, _ = subject.test.halves()
    alone = bench.alone(choose, widths, method)
    each = _configurations(bench, alone, widths, method, methods, limits)
    each, refused = _possible(bench, each)
    outcomes = _described(bench.all_outcomes(each, subject.test), bench, each)
    others = {
        name: _named(bench.all_outcomes(_few(each, outcomes, limits), one), subject)
        for name, one in list(subject.tests.items())[1:]
    }
    found = Audit(outcomes, _named(alone, subject), others, xr.Dataset(), {})
    found.about = _about(subject, limits, widths, method, whole)
    found.about["skipped"] |= refused
    found.examples = _examples(subject, outcomes, found.uniform[-1])
    if folder is not None:
        found.about["exported"] = _export(bench, each, found, folder)
    found.about["seconds"] = time.perf_counter() - started
    if folder is not None:
        found.write(folder / "data")
    return found


def _checked(bits: Sequence[int], method: str, methods: Sequence[str]) -> list[int]:
    from ltqlib.quantization import methods as known

    for name in (method, *methods):
        known.get(name)
    if not known.get(method).local:
        raise InputError(f"method {method!r} is not local: give it in methods, and another here")
    widths = sorted(set(bits), reverse=True)
    if not widths or any(not isinstance(b, int) or not 2 <= b <= 8 for b in widths):
        raise InputError(f"bits {brief(bits)}: give whole numbers from 2 to 8")
    return widths


def _configurations(
    bench: "Bench",
    alone: xr.Dataset,
    bits: Sequence[int],
    method: str,
    methods: Sequence[str],
    limits: Limits,
) -> list["Configuration"]:
    """Float, uniform widths, mixed ones, and other methods at the fewest bits."""
    from ltqlib.deploy.bench import FLOAT, Configuration

    layers = len(bench.subject.graph.layers)
    found = [Configuration(findings.FLOAT, "float", (FLOAT,) * layers, method)]
    found += [Configuration(f"{b} bits", "uniform", (b,) * layers, method) for b in bits]
    for widths in _mixed(alone, bits, _weights_limit(bench, found[1], limits)):
        mean = np.average(widths, weights=alone["parameters"].values)
        if widths not in [one.widths for one in found]:
            found.append(Configuration(f"mixed {mean:.2f}", "mixed", widths, method))
    fewest = (bits[-1],) * layers
    names = [name for name in methods if name != method]
    return found + [Configuration(f"{bits[-1]} bits, {n}", "method", fewest, n) for n in names]


def _possible(
    bench: "Bench", each: Sequence["Configuration"]
) -> tuple[list["Configuration"], dict[str, str]]:
    """Without the methods that cannot be had for this network, and why."""
    found, refused = [], {}
    for one in each:
        try:
            bench.facts(one)
            found.append(one)
        except InputError as error:
            if one.kind != "method":
                raise
            refused[f"method {one.method}"] = str(error)
    return found, refused


def _weights_limit(bench: "Bench", one: "Configuration", limits: Limits) -> float | None:
    """What ``max_size`` leaves for the packed weights."""
    if limits.max_size is None:
        return None
    layers = bench.subject.graph.layers.values()
    packed = sum(layer.parameters * b for layer, b in zip(layers, one.widths, strict=True)) / 8
    return limits.max_size - (bench.facts(one)["size"][0] - packed)


def _mixed(
    alone: xr.Dataset, bits: Sequence[int], max_size: float | None
) -> Iterator[tuple[int, ...]]:
    """Widths of least predicted loss along a ladder of sizes, and within the limit on size."""
    if len(bits) < 2:
        return
    sides = alone.assign_coords(group=alone["side"])
    ladder = [{"mean_bits": b} for b in np.linspace(bits[0], bits[-1], 2 * len(bits) + 1)[1:-1]]
    for limit in [*ladder, *([] if max_size is None else [{"max_size": max_size}])]:
        with contextlib.suppress(InfeasibleError):  # the smallest is too large: judged as it is
            found = allocate(sides, "0.5*norm + 0.5*tail", bits, how="exact", **limit)
            yield tuple(int(b) for b in found.values)


def _few(
    each: Sequence["Configuration"], outcomes: xr.Dataset, limits: Limits
) -> list["Configuration"]:
    """What other test sets are asked: float, uniform widths, and the recommended one."""
    chosen = recommend(outcomes, limits)[0]
    return [one for one in each if one.kind in ("float", "uniform") or one.name == chosen]


def _named(found: xr.Dataset, subject: "Subject") -> xr.Dataset:
    counts = list(subject.test.counts)
    return found.assign_attrs(classes=list(subject.test.classes), counts=counts)


def _described(outcomes: xr.Dataset, bench: "Bench", each: Sequence["Configuration"]) -> xr.Dataset:
    """With kind, method, widths and size of each configuration."""
    layers = bench.subject.graph.layers
    widths = xr.DataArray([one.widths for one in each], dims=("configuration", "layer"))
    parameters = np.array([layer.parameters for layer in layers.values()])
    sizes = [int(bench.facts(one)["size"][0]) for one in each]
    return (
        _named(outcomes, bench.subject)
        .assign(widths=widths)
        .assign_coords(
            layer=list(layers),
            kind=("configuration", [one.kind for one in each]),
            method=("configuration", [one.method for one in each]),
            mean_bits=("configuration", widths.values @ parameters / parameters.sum()),
            size=("configuration", sizes),
        )
    )


def _about(
    subject: "Subject", limits: Limits, bits: Sequence[int], method: str, whole: int
) -> dict[str, Any]:
    """Plain values about the audit."""
    test = subject.test
    return {
        "model": subject.name,
        "digest": subject.digest,
        "bits": list(bits),
        "method": method,
        "limits": dataclasses.asdict(limits),
        "data": test.note,
        "images": len(test),
        "all_images": whole,
        "unlabelled": len(subject.unlabelled),
        "calibration": len(subject.calibration),
        "groups": {name: list(labels) for name, labels in test.groups.items()},
        "head": list(subject.sides["head"]),
        "absent": [n for n, size in zip(test.classes, test.sizes, strict=True) if not size],
        "skipped": dict(subject.graph.skipped),
        "side": int(test.images.shape[1]),
    }


def _examples(subject: "Subject", outcomes: xr.Dataset, configuration: str) -> xr.Dataset:
    """Pixels of images that were lost, rare classes first."""
    at = findings.positions(outcomes, configuration, EXAMPLES)
    images = subject.test.images[at]
    step = max(1, -(-images.shape[1] // SIDE))
    return xr.Dataset(
        {"pixels": (("image", "y", "x", "channel"), images[:, ::step, ::step])},
        {"image": np.array(at, int)},
        {"configuration": configuration},
    )


def _export(
    bench: "Bench", each: Sequence["Configuration"], found: Audit, folder: Path
) -> dict[str, Any]:
    """The recommended model as packed safetensors and as ONNX; what cannot be done is told."""
    from ltqlib.deploy.exported import export

    name, repaired = found.recommended
    (one,) = [each_one for each_one in each if each_one.name == name]
    return export(bench, one, repaired, folder)
