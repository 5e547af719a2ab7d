"""What the solver is given: the loss of every class by layer and width, and layers that are tied.

The model is additive: the loss of class c under the widths b is the sum over layers l of
``losses[c, l, b_l]``, each measured with only that layer quantized (sensitivity.py).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ltqlib.first.errors import InputError
from ltqlib.first.metrics import per_class_accuracy

Table = npt.NDArray[np.float64]
Choice = npt.NDArray[np.intp]  # index of a width for each group of tied layers


class InfeasibleError(InputError):
    """No widths keep all limits.

    Attributes:
        nearest: ``{constraint: value}``; each value is the smallest limit that can be met.
        together: whether all of ``nearest`` are needed; if not, any one of them is enough while
            the other limits stay as they are.
    """

    def __init__(
        self, limits: Mapping[str, float], nearest: Mapping[str, float], together: bool = False
    ) -> None:
        self.nearest, self.together = dict(nearest), together
        kept = " and ".join(f"{name} <= {limit:g}" for name, limit in limits.items())
        raised = [f"{name} to at least {_rounded_up(value)}" for name, value in nearest.items()]
        super().__init__(
            f"no widths keep {kept}: raise {(' and ' if together else ', or ').join(raised)}"
        )


def _rounded_up(value: float, digits: int = 6) -> str:
    """``value`` with few digits, never below it: who types it in gets a limit that can be met."""
    if value == 0:
        return "0"
    step = 10.0 ** (math.floor(math.log10(abs(value))) - digits + 1)
    return f"{math.ceil(value / step - 1e-6) * step:.{digits}g}"


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """How much each class loses when one layer alone is quantized.

    Args:
        losses: (classes, layers, widths), loss against the model that is not quantized, in any
            unit (points of accuracy, nats); negative where rounding helps a class.
        layers: names of the layers.
        widths: weight bits.
        classes: names of the classes.

    Raises:
        InputError: the table has another shape, a name or width is there twice, or a value is
            missing (NaN: a class without an image in the selection set).
    """

    losses: Table
    layers: tuple[str, ...]
    widths: tuple[int, ...]
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        for what, values in (
            ("classes", self.classes),
            ("layers", self.layers),
            ("widths", self.widths),
        ):
            if not values or len(set(values)) < len(values):
                raise InputError(f"the {what} of a sensitivity are empty or one is there twice")
        shape = (len(self.classes), len(self.layers), len(self.widths))
        if self.losses.shape != shape:
            raise InputError(
                f"the sensitivity has shape {self.losses.shape}: give one loss for each of the "
                f"classes, layers and widths, {shape}"
            )
        if not np.isfinite(self.losses).all():
            c, layer, width = np.argwhere(~np.isfinite(self.losses))[0]
            raise InputError(
                f"class {self.classes[c]} has no loss for {self.layers[layer]} at "
                f"{self.widths[width]} bits: does it have an image in the selection set? Give "
                "every class at least one, or leave the class out"
            )

    @classmethod
    def from_tables(
        cls,
        tables: Mapping[str, Mapping[int, Sequence[float]]],
        layers: Sequence[str],
        widths: Sequence[int],
        classes: Sequence[str],
    ) -> "Sensitivity":
        """From ``tables[layer][bits]``, the losses of the classes (classes,).

        Raises:
            InputError: the tables do not cover every layer and width, or as for the class.
        """
        for layer in layers:
            if layer not in tables:
                raise InputError(f"the sensitivity of layer {layer} is missing: measure it first")
            for bits in widths:
                found = len(tables[layer].get(bits, ()))
                if found != len(classes):
                    raise InputError(
                        f"the sensitivity of layer {layer} at {bits} bits has {found} losses, "
                        f"{len(classes)} classes need one each: measure that layer and width"
                    )
        losses = np.array([[tables[layer][b] for b in widths] for layer in layers], dtype=float)
        return cls(np.moveaxis(losses, 2, 0), tuple(layers), tuple(widths), tuple(classes))

    @classmethod
    def from_predictions(
        cls,
        reference: npt.NDArray[np.uint8],
        changed: Mapping[str, Mapping[int, npt.NDArray[np.uint8]]],
        labels: npt.NDArray[np.integer],
        classes: int,
    ) -> "Sensitivity":
        """Points of accuracy that each class loses with one layer quantized.

        Args:
            reference: predicted classes of the float network (N,).
            changed: ``{layer: {bits: predicted classes (N,)}}`` with that layer alone quantized.
            labels: truth (N,); the classes are named by their labels.

        Raises:
            InputError: a class has no image, or as for the class.
        """
        floating = per_class_accuracy(reference, labels, classes)
        tables = {
            layer: {
                bits: (floating - per_class_accuracy(predictions, labels, classes)).tolist()
                for bits, predictions in by_width.items()
            }
            for layer, by_width in changed.items()
        }
        widths = list(next(iter(tables.values())))
        return cls.from_tables(tables, list(tables), widths, [str(c) for c in range(classes)])

    def predict(self, allocation: Mapping[str, int]) -> Table:
        """Predicted loss of each class (classes,) under ``{layer: bits}``."""
        chosen = [self.widths.index(allocation[name]) for name in self.layers]
        return self.losses[:, np.arange(len(chosen)), chosen].sum(1)

    def named(self, choice: Choice, groups: Sequence[Sequence[int]]) -> dict[str, int]:
        """``{layer: bits}``, layers in order, from a width for each group of tied layers."""
        index = {i: w for members, w in zip(groups, choice, strict=True) for i in members}
        return {name: self.widths[index[i]] for i, name in enumerate(self.layers)}


def units(layers: tuple[str, ...], tied: Sequence[Sequence[str]]) -> list[list[int]]:
    """Indices of the layers that share a width; a layer that is not tied is alone.

    Raises:
        InputError: a tied layer is unknown, or tied twice.
    """
    named = [name for members in tied for name in members]
    for name in named:
        if name not in layers:
            raise InputError(f"the tied layer {name} is not one of {', '.join(layers)}")
        if named.count(name) > 1:
            raise InputError(f"layer {name} is tied twice: join its groups into one")
    alone = [[index] for index, name in enumerate(layers) if name not in named]
    return alone + [[layers.index(name) for name in members] for members in tied if members]


def merge(table: Table, groups: Sequence[Sequence[int]]) -> Table:
    """``table`` (..., layers, widths) summed over tied layers: (..., groups, widths)."""
    return np.stack([table[..., members, :].sum(-2) for members in groups], axis=-2)
