"""Methods of quantization, one file each: importing a file in this folder registers its methods.

A method turns a graph and the widths of its layers into a
:class:`~ltqlib.quantization.quantized.Quantized` model. To add one, put a file into this folder;
nothing else changes::

    from ltqlib.quantization.methods import LocalMethod, register
    from ltqlib.quantization.types import Variant

    class Mine(LocalMethod):
        name = "mine"

        def variant(self, graph, layer, bits, sample=None):
            return Variant(weight=...)

    register(Mine())
"""

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from torch import Tensor

from ltqlib.errors import InputError
from ltqlib.quantization.quantized import Quantized
from ltqlib.quantization.types import Variant, widths_of

if TYPE_CHECKING:
    from ltqlib.models.graph import Graph


class Method(Protocol):
    """What every method has.

    * ``name``: under which it is registered, and which goes into the records of its results.
    * ``local``: a layer's quantized form depends on that layer's own bits alone, so that the engine
      may mix and share forms (the method is a :class:`LocalMethod`); otherwise every configuration
      is made as a whole.
    * ``activations``: it quantizes the inputs of layers as well.
    * ``calibrated``: it needs calibration images.
    """

    @property
    def name(self) -> str: ...
    @property
    def local(self) -> bool: ...
    @property
    def activations(self) -> bool: ...
    @property
    def calibrated(self) -> bool: ...

    def quantize(
        self,
        graph: "Graph",
        widths: Mapping[str, int],
        calibration: Any = None,
        labels: Any = None,
        budget: float | None = None,
    ) -> Quantized:
        """The model with the layers of ``widths`` quantized; all others stay float.

        Args:
            graph: the float model.
            widths: bits by layer; 0 and 32 leave a layer as it is.
            calibration: images, as ``graph.sample_inputs`` takes them.
            labels: classes of the calibration images, for methods that learn from them.
            budget: how long a method that trains may take, in seconds.

        Raises:
            InputError: an unknown layer, bits outside 2..8, no calibration images where needed.
        """
        ...


class LocalMethod(ABC):
    """A local method: :meth:`variant` is all there is to write.

    One that needs more of the calibration images than a sample of each layer's input values sets
    ``calibrated`` and overrides :meth:`calibrate`.
    """

    name: str
    local: ClassVar[bool] = True
    activations: bool = False

    @property
    def calibrated(self) -> bool:
        """Whether calibration images are needed."""
        return self.activations

    @abstractmethod
    def variant(
        self, graph: "Graph", layer: str, bits: int, sample: Tensor | None = None
    ) -> Variant:
        """One layer in quantized form.

        Args:
            layer: its name.
            bits: 2..8, of the weight, and of the input where the method quantizes it.
            sample: what :meth:`samples` gives for the layer; None where nothing is needed.

        Raises:
            InputError: bits outside 2..8, no sample where needed, weights that are not finite.
        """

    def calibrate(self, graph: "Graph", images: Any) -> dict[str, Tensor]:
        """What :meth:`variant` needs to know of each layer: here a sample of its input values."""
        return graph.sample_inputs(images)

    def samples(self, graph: "Graph", calibration: Any) -> dict[str, Tensor]:
        """:meth:`calibrate` where the method needs calibration images, else nothing.

        Raises:
            InputError: calibration images are needed and were not given.
        """
        if not self.calibrated:
            return {}
        if calibration is None:
            raise InputError(
                f"method {self.name!r} needs calibration images: give calibration=<images>"
            )
        return self.calibrate(graph, calibration)

    def quantize(
        self,
        graph: "Graph",
        widths: Mapping[str, int],
        calibration: Any = None,
        labels: Any = None,
        budget: float | None = None,
    ) -> Quantized:
        """The layers of ``widths`` quantized one by one; as :meth:`Method.quantize`."""
        widths = widths_of(widths, graph.layers)
        samples = self.samples(graph, calibration)
        variants = {n: self.variant(graph, n, bits, samples.get(n)) for n, bits in widths.items()}
        return Quantized(graph, variants, self.name)


M = TypeVar("M", bound=Method)
_METHODS: dict[str, Method] = {}


def register(method: M) -> M:
    """Make a method known under its name, and return it.

    Raises:
        InputError: another method has that name.
    """
    there = _METHODS.setdefault(method.name, method)
    if there is not method and type(there).__qualname__ != type(method).__qualname__:
        raise InputError(
            f"a method {method.name!r} is registered already: choose another name for yours"
        )
    _METHODS[method.name] = method
    return method


def names() -> tuple[str, ...]:
    """Names of all methods, sorted by file."""
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda module: module.name):
        importlib.import_module(f"{__name__}.{module.name}")
    return tuple(_METHODS)


def get(method: str | Method) -> Method:
    """The method of a name; a method is returned as it is.

    Raises:
        InputError: an unknown name.
    """
    if not isinstance(method, str):
        return method
    if method not in _METHODS and method not in names():
        raise InputError(f"method {method!r} is unknown: use one of {', '.join(_METHODS)}")
    return _METHODS[method]
