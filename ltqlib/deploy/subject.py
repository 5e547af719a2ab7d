"""What is audited: a torch classifier and its images, brought into one form."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ltqlib.data import Images, LongTail, Split, fingerprint, load_data, make_groups
from ltqlib.deploy.from_onnx import from_onnx
from ltqlib.errors import InputError
from ltqlib.models.graph import Graph, as_tensor

CALIBRATION = 1000  # images that ranges and class shares are taken from, at most
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and std that torchvision uses

Normalize = tuple[Sequence[float], Sequence[float]]


class Normalized(nn.Module):
    """A model behind ``(pixels / 255 - mean) / std``: it takes pixels from 0 to 255."""

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.model = model
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(values).reshape(-1, 1, 1))

    def _get_name(self) -> str:
        return self.model._get_name()  # what messages call it

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits (B, C) of pixels (B, 3, H, W)."""
        return self.model((pixels.float() / 255 - self.mean) / self.std)


@dataclass(frozen=True, eq=False)
class Subject:
    """A traced classifier, images without labels, and one or several labelled test sets."""

    name: str
    graph: Graph = field(repr=False)
    calibration: Images = field(repr=False)  #: (N, H, W, 3), for ranges and methods
    unlabelled: Images = field(repr=False)  #: (N, H, W, 3), for the repair without labels
    tests: dict[str, Split]  #: the first is what everything is chosen and judged on

    @property
    def test(self) -> Split:
        """The first test set."""
        return next(iter(self.tests.values()))

    @property
    def digest(self) -> str:
        """SHA-256 (16 digits) of the graph and all its constants."""
        found = hashlib.sha256(str(self.graph.traced.graph).encode())
        for name, value in sorted(self.graph.traced.constants.items()):
            found.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            found.update(value.detach().cpu().contiguous().numpy().tobytes())
        return found.hexdigest()[:16]

    @property
    def sides(self) -> dict[str, tuple[int, ...]]:
        """Labels of head and tail; without these names the first group is the head."""
        groups, labels = self.test.groups, range(self.graph.classes)
        if "head" not in groups and "tail" in groups:
            head = [label for label in labels if label not in groups["tail"]]
        else:
            head = list(groups.get("head", next(iter(groups.values()))))
        tail = [label for label in labels if label not in head]
        if not head or not tail:
            raise InputError("all classes are in one group: give groups with a head and a tail")
        return {"head": tuple(head), "tail": tuple(tail)}

    def sample(self, images: int, seed: int = 0) -> "Subject":
        """The same with at most so many images of each test set, all classes alike."""
        return dataclasses.replace(
            self, tests={name: _sample(test, images, seed) for name, test in self.tests.items()}
        )


def prepare(
    model: nn.Module | Graph | Path | str,
    calibration: Any,
    test: Any,
    *,
    groups: Any = None,
    normalize: Normalize | None = None,
    unlabelled: Any = None,
    name: str = "",
) -> Subject:
    """Check and trace; arguments as in :func:`ltqlib.deploy.audit.audit`.

    Raises:
        InputError: images of different shapes, a model that cannot be traced or has another number
            of outputs than there are classes, test images without groups.
    """
    images, counts = _images_of(calibration)
    given = dict(test) if isinstance(test, Mapping) else {"test": test}
    shaped = {called: _split_of(one, counts) for called, one in given.items()}
    first = next(iter(shaped.values()))
    tests = {called: _grouped(one, groups, first) for called, one in shaped.items()}
    free = images if unlabelled is None else _images_of(unlabelled)[0]
    shapes = {"calibration": images, "unlabelled": free}
    shapes |= {f"test set {called!r}": one.images for called, one in tests.items()}
    for what, these in shapes.items():
        if these.shape[1:] != first.images.shape[1:]:
            raise InputError(
                f"{what} images are {these.shape[1:]}, test images {first.images.shape[1:]}: "
                "resize them alike"
            )
    hint = "" if normalize else "; a model of normalized images needs normalize=(mean, std)"
    if isinstance(model, str | Path):
        name, model = name or Path(model).name, from_onnx(model, first.images.shape[1])
        hint += "; give the torch module instead of its ONNX form"
    graph = _trace(model, first.images[:2], normalize, hint)
    if wrong := [len(one.classes) for one in tests.values() if len(one.classes) != graph.classes]:
        raise InputError(
            f"the model has {graph.classes} outputs, the data {wrong[0]} classes: "
            "give the model that was trained on these classes"
        )
    return Subject(name or type(model).__name__, graph, images, free, tests)


def _trace(
    model: nn.Module | Graph, images: Images, normalize: Normalize | None, hint: str
) -> Graph:
    if isinstance(model, Graph):
        return model
    wrapped = model if normalize is None else Normalized(model, *normalize)
    try:
        return Graph.trace(wrapped, as_tensor(images))
    except InputError as error:
        raise InputError(f"{error}{hint}") from error


def _images_of(given: Any) -> tuple[Images, tuple[int, ...]]:
    """At most ``CALIBRATION`` images, and the training images of each class if they are known."""
    counts: tuple[int, ...] = ()
    if isinstance(given, str):
        given = load_data(given, "natural")
    if isinstance(given, LongTail | Split):
        counts, given = given.counts, given.images
    elif isinstance(given, tuple):
        counts, given = tuple(np.bincount(given[1]).tolist()), given[0]
    images = Split.of(given, np.zeros(len(given), int)).images  # checked
    chosen = np.random.default_rng(0).permutation(len(images))[:CALIBRATION]
    return images[np.sort(chosen)], counts


def _split_of(given: Any, counts: tuple[int, ...]) -> Split:
    if isinstance(given, str):
        given = load_data(given, "natural")
    if isinstance(given, LongTail):
        return given.test
    if isinstance(given, Split):
        return given
    if not isinstance(given, tuple) or len(given) != 2:
        raise InputError("test is a Split, (images, labels), or a source such as folder:PATH")
    images, labels = given
    classes = [str(label) for label in range(max(len(counts), int(np.max(labels)) + 1))]
    known = counts if len(counts) == len(classes) and min(counts) > 0 else ()
    return Split.of(images, labels, classes, counts=known)


def _grouped(split: Split, groups: Any, first: Split) -> Split:
    """With groups: those asked for, its own, or the first test set's."""
    if groups is not None:
        counts = split.counts or first.counts
        if isinstance(groups, str) and not counts:
            raise InputError(f"groups {groups!r} follow the training images, which are not known")
        named = make_groups(groups, split.classes, counts, natural=True)
        return dataclasses.replace(split, groups=named)
    if split.groups or first.groups:
        return dataclasses.replace(split, groups=split.groups or first.groups)
    raise InputError(
        "nothing says which classes are rare: give groups={'head': [...], 'tail': [...]}, or "
        "calibration=(images, labels) with the training images' labels"
    )


def _sample(split: Split, images: int, seed: int) -> Split:
    """At most ``images`` of a split, as many of each class as there are, up to a common number."""
    if images >= len(split):
        return split
    most = images // max(1, sum(size > 0 for size in split.sizes))
    generator = np.random.default_rng(seed)
    chosen = [
        generator.permutation(np.flatnonzero(split.labels == label))[: max(2, most)]
        for label in range(len(split.classes))
    ]
    at = np.sort(np.concatenate(chosen))
    pixels, labels = split.images[at], split.labels[at]
    return dataclasses.replace(
        split,
        identity=f"images:{fingerprint(pixels, labels)}",
        sizes=tuple(np.bincount(labels, minlength=len(split.classes)).tolist()),
        read=lambda: (pixels, labels),
    )
