"""Measuring: what a subject predicts under configurations, found again where it is known."""

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from torch import Tensor

from ltqlib import engine
from ltqlib.data import HALVES, Images, Split, fingerprint, half_mask
from ltqlib.deploy.subject import Subject
from ltqlib.files import write_whole
from ltqlib.progress import Progress
from ltqlib.quantization import Quantized, Variant, methods
from ltqlib.statistics import match_shares

FLOAT = 32
RANGES, PIXELS = 512, 512 * 64 * 64  # calibration images that methods see at once, and pixels
Found = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Configuration:
    """Widths of all layers in order, the method that rounds them, and a name for tables."""

    name: str
    kind: str  #: float | uniform | mixed | method
    widths: tuple[int, ...]
    method: str


class Work:
    """Results in a folder, one file each; without a folder they are kept in memory."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.held: dict[str, Found] = {}

    def recall(self, what: str, how: Mapping[str, Any], compute: Callable[[], Found]) -> Found:
        """What ``compute()`` gives, read where it was computed with the same ``how``."""
        key = hashlib.sha256(json.dumps(how, sort_keys=True).encode()).hexdigest()
        name = f"{what}-{key[:16]}.safetensors"
        if self.folder is None:
            if name not in self.held:
                self.held[name] = compute()
            return self.held[name]
        from safetensors import SafetensorError
        from safetensors.numpy import load, save

        path = self.folder / name
        with contextlib.suppress(FileNotFoundError, SafetensorError):
            return load(path.read_bytes())
        found = {name: np.ascontiguousarray(value) for name, value in compute().items()}
        write_whole(path, save(found))
        return found


class Outcome:
    """A reducer: :func:`ltqlib.engine.whole`, and the class that is called with ``offsets``."""

    def __init__(self, sides: Mapping[str, Sequence[int]], offsets: npt.NDArray) -> None:
        self.whole = engine.whole(sides)
        self.offsets = torch.from_numpy(offsets).float()

    def __call__(self, logits: Tensor) -> Found:
        """What ``whole`` gives, and ``matched`` (rows,), from logits (rows, C)."""
        shifted = logits + self.offsets.to(logits.device)
        return {**self.whole(logits), "matched": engine.predicted(shifted)["predicted"]}

    def gap(self, logits: Tensor) -> Tensor:
        """By how much the closest comparison was won, (rows,)."""
        shifted = engine.predicted.gap(logits + self.offsets.to(logits.device))
        return torch.minimum(self.whole.gap(logits), shifted)


@dataclass
class Bench:
    """Measures one subject; everything goes through ``work``."""

    subject: Subject
    work: Work
    forms: dict[tuple[str, str, int], Variant] = field(default_factory=dict)
    samples: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    made: tuple[Configuration, Quantized] | None = None  # the last of a method that is not local

    @cached_property
    def known(self) -> dict[str, str]:
        """What every result depends on."""
        these = {"calibration": self.subject.calibration, "unlabelled": self.subject.unlabelled}
        return {"model": self.subject.digest} | {k: fingerprint(v) for k, v in these.items()}

    def variants(self, method: str, widths: Mapping[str, Sequence[int]]) -> Any:
        """``{layer: {bits: variant}}`` of a local method, each made once."""
        chosen, graph = methods.get(method), self.subject.graph
        if method not in self.samples:
            self.samples[method] = chosen.samples(graph, self.ranges)  # type: ignore[attr-defined]
        sample = self.samples[method]
        for layer, each in widths.items():
            for bits in set(each) - {FLOAT}:
                if (method, layer, bits) not in self.forms:
                    made = chosen.variant(graph, layer, bits, sample.get(layer))  # type: ignore[attr-defined]
                    self.forms[method, layer, bits] = made
        return {
            layer: {bits: self.forms[method, layer, bits] for bits in set(each) - {FLOAT}}
            for layer, each in widths.items()
        }

    @property
    def ranges(self) -> Images:
        """The calibration images that grids and methods see."""
        images = self.subject.calibration
        return images[: max(16, min(RANGES, PIXELS // (images.shape[1] * images.shape[2])))]

    def quantized(self, configuration: Configuration) -> Quantized:
        """The model of a configuration, to be called, saved and exported."""
        graph, method = self.subject.graph, methods.get(configuration.method)
        widths = dict(zip(graph.layers, configuration.widths, strict=True))
        if not method.local:  # it computes the calibration images, and is asked for once a test set
            if self.made is None or self.made[0] != configuration:
                self.made = configuration, method.quantize(graph, widths, self.ranges)
            return self.made[1]
        forms = self.variants(method.name, {layer: [bits] for layer, bits in widths.items()})
        chosen = {layer: v for layer, each in forms.items() for v in each.values()}
        return Quantized(graph, chosen, method.name)

    def facts(self, configuration: Configuration) -> Found:
        """``size`` (bytes, (1,)), and ``offsets`` (C,): what the repair without labels adds."""
        how = {**self.known, "widths": configuration.widths, "method": configuration.method}

        def compute() -> Found:
            quantized = self.quantized(configuration)
            logits = self._predicted(configuration, self.subject.unlabelled, all_logits)["logits"]
            found = match_shares(logits, self._float_logits)
            return {"offsets": found, "size": np.array([quantized.model_size])}

        return self.work.recall("facts", how, compute)

    @cached_property
    def _float_logits(self) -> npt.NDArray:
        """(N, C) of the unlabelled images."""
        return graph_logits(self.subject.graph.module(), self.subject.unlabelled)

    def outcomes(self, configuration: Configuration, test: Split) -> Found:
        """``predicted``, ``best_head``, ``best_tail``, ``margin``, ``matched`` of images (N,)."""
        how: dict[str, Any] = {**self.known, "method": configuration.method}
        how |= {"widths": configuration.widths, "test": test.identity, "sides": self.subject.sides}

        def compute() -> Found:
            reduce = Outcome(self.subject.sides, self.facts(configuration)["offsets"])
            return self._predicted(configuration, test.images, reduce)

        return self.work.recall("outcomes", how, compute)

    def _predicted(
        self, configuration: Configuration, images: Images, reduce: engine.Reducer
    ) -> Found:
        """In float32: margins stay exact, and one configuration shares nothing with others."""
        graph = self.subject.graph
        if not methods.get(configuration.method).local:
            return engine.predict_module(self.quantized(configuration), images, reduce)
        widths = dict(zip(graph.layers, configuration.widths, strict=True))
        forms = self.variants(configuration.method, {k: [v] for k, v in widths.items()})
        rows = [configuration.widths]
        found = engine.predict(graph, forms, rows, images, reduce, precision="float32")
        return {name: value[0] for name, value in found.items()}

    def all_outcomes(self, configurations: Sequence[Configuration], test: Split) -> xr.Dataset:
        """Outcomes (configuration, image) with what is known of the images."""
        parts = []
        with Progress(len(configurations), f"models on {test.name}") as bar:
            for one in configurations:
                parts.append(self.outcomes(one, test))
                bar.update(note=one.name)
        found = {
            name: (("configuration", "image"), np.stack([part[name] for part in parts]))
            for name in parts[0]
        }
        names = [one.name for one in configurations]
        return xr.Dataset(found, {"configuration": names, **self._image_coords(test)})

    def alone(self, test: Split, bits: Sequence[int], method: str) -> xr.Dataset:
        """``right`` (layer, bits, image) with one layer quantized and all others float."""
        graph, how = self.subject.graph, {**self.known, "test": test.identity}
        widths = [FLOAT, *bits]
        rows = one_at_a_time(len(graph.layers), widths)

        def compute() -> Found:
            forms = self.variants(method, dict.fromkeys(graph.layers, bits))
            return engine.predict(graph, forms, rows, test.images, progress="layers one by one")

        found = self.work.recall("alone", {**how, "bits": list(bits), "method": method}, compute)
        right = (found["predicted"] == test.labels).astype(np.int8)
        shaped = right.reshape(len(graph.layers), len(widths), -1)
        costs = {
            name: ("layer", [getattr(layer, name) for layer in graph.layers.values()])
            for name in ("parameters", "macs", "kind")
        }
        coords = {"layer": list(graph.layers), "bits": widths, **costs, **self._image_coords(test)}
        return xr.Dataset({"right": (("layer", "bits", "image"), shaped)}, coords)

    def _image_coords(self, test: Split) -> dict[str, Any]:
        """Label, group, side (head or tail) and half of each image."""
        head = np.isin(test.labels, self.subject.sides["head"])
        half = [test.half] * len(head) if test.half else np.where(half_mask(test.labels), *HALVES)
        return {
            "label": ("image", test.labels),
            "group": ("image", test.group_of_image),
            "side": ("image", np.where(head, "head", "tail")),
            "half": ("image", np.array(half)),
        }


def one_at_a_time(layers: int, widths: Sequence[int]) -> npt.NDArray[np.int64]:
    """(layers * widths, layers): each layer alone at each width, the others float."""
    rows = np.full((layers, len(widths), layers), FLOAT)
    for layer in range(layers):
        rows[layer, :, layer] = widths
    return rows.reshape(-1, layers)


def all_logits(logits: Tensor) -> Found:
    """A reducer that keeps everything."""
    return {"logits": logits.cpu().numpy()}


def graph_logits(model: torch.nn.Module, images: Images) -> npt.NDArray:
    """Logits (N, C) in float32 of images (N, H, W, 3)."""
    return engine.predict_module(model, images, all_logits)["logits"]
