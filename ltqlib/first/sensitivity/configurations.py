"""Many bit configurations of one network at once: what begins alike is computed once.

Sorted by the widths of their layers in order of execution, configurations are the leaves of a
tree whose branches part at the first layer that differs. A batch of images goes down the tree
depth first, so the early layers, which hold most of the multiplications of a VGG, run once for
all configurations that share their widths.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ltqlib.first.data import Images
from ltqlib.first.errors import InputError
from ltqlib.first.models import Network, quantizable_layers
from ltqlib.first.progress import Progress
from ltqlib.first.quantization.ptq import Scheme
from ltqlib.first.sensitivity.memory import row_values
from ltqlib.first.sensitivity.precision import CLOSE, find_precision, margin, margin_error, pilot
from ltqlib.first.sensitivity.walk import CHUNK, Operator, Rows, Step, make_steps, through

FLOAT = 32  # the width of a layer that is left as it is

Ints = npt.NDArray[np.int64]
Wanted = npt.NDArray[np.bool_]
Predictions = npt.NDArray[np.uint8]
Branch = tuple[Step, Operator]


@dataclass
class Configurations:
    """A network whose weights are quantized to any widths, layer by layer, and how to compute.

    Args:
        network: folded, in eval mode.
        scheme: how weights are quantized; activations stay float.
        precision: ``float32``; ``bfloat16``, with close cases settled in float32; or ``auto``.
        batch: images that go down the tree together.

    Raises:
        InputError: an unknown precision.
    """

    network: Network
    scheme: Scheme
    precision: str = "auto"
    batch: int = 500

    def __post_init__(self) -> None:
        self.layers = list(quantizable_layers(self.network))
        self.device = next(self.network.parameters()).device
        self.precision = find_precision(self.precision, self.device)
        self.settled = 0  # predictions that were settled in float32

    @torch.inference_mode()
    def predict(
        self,
        images: Images,
        widths: npt.ArrayLike,
        wanted: Wanted | None = None,
        progress: str = "configurations",
        settle: bool = True,
    ) -> Predictions:
        """Predicted classes with each configuration.

        Args:
            images: uint8 (N, H, W, 3).
            widths: weight bits of the layers in order, (M, layers); 32 is float.
            wanted: which images each configuration is wanted for, (M, N); None for all.
            settle: compute close cases of bfloat16 again in float32.

        Returns:
            (M, N); 0 where not wanted.

        Raises:
            InputError: widths of another number of layers, or no configuration.
        """
        rows, back = self._distinct(widths)
        needed = np.ones((len(rows), len(images)), dtype=bool)
        if wanted is not None:
            needed[:] = False
            np.logical_or.at(needed, back, wanted)  # a configuration may be given twice
        found = self._predict(images, rows, needed, progress, settle)[back]
        return found if wanted is None else np.where(wanted, found, 0).astype(np.uint8)

    def _predict(
        self, images: Images, rows: Ints, needed: Wanted, progress: str, settle: bool
    ) -> Predictions:
        found = np.zeros(needed.shape, dtype=np.uint8)
        if self.precision == "float32":
            self._exactly(found, images, rows, needed, progress)
            return found
        threshold = self._threshold(images, rows) if settle else None
        close = np.zeros_like(needed)
        for row, at, logits in self._leaves(torch.bfloat16, images, rows, needed, progress):
            found[row, at] = logits.argmax(1).cpu().numpy()
            if threshold is not None:  # written so that a margin that is no number is close too
                close[row, at] = ~(margin(logits) > threshold[row])
        self.settled += int(close.sum())
        self._exactly(found, images, rows, close, f"{progress}, close cases")
        return found

    @torch.inference_mode()
    def logits(self, images: Images, widths: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Logits with each configuration, in float32's arithmetic, (M, N, classes)."""
        rows, back = self._distinct(widths)
        return self._logits(torch.float32, images, rows).numpy()[back]

    def _distinct(self, widths: npt.ArrayLike) -> tuple[Ints, Ints]:
        """Configurations sorted, each once, and where each of those given is among them."""
        given = np.asarray(widths, dtype=np.int64)
        if given.ndim != 2 or given.shape[1] != len(self.layers) or not len(given):
            raise InputError(
                f"bit configurations have shape {given.shape}: give one row or more of "
                f"{len(self.layers)} widths, one a layer"
            )
        rows, back = np.unique(given, axis=0, return_inverse=True)
        return rows, back.reshape(-1)

    def _threshold(self, images: Images, rows: Ints) -> npt.NDArray[np.float32]:
        """Margin up to which a case is close, in units of the logits, (configurations,)."""
        sample = images[pilot(len(images))]
        rounded = self._logits(torch.bfloat16, sample, rows)
        return CLOSE * margin_error(rounded, self._logits(torch.float32, sample, rows))

    def _logits(self, dtype: torch.dtype, images: Images, rows: Ints) -> Tensor:
        everything = np.ones((len(rows), len(images)), dtype=bool)
        found: Tensor | None = None
        for row, at, logits in self._leaves(dtype, images, rows, everything, "logits"):
            if found is None:
                found = torch.empty(len(rows), len(images), logits.shape[1])
            found[row, torch.from_numpy(at)] = logits.cpu()
        assert found is not None, "there are configurations and images"
        return found

    def _exactly(
        self, found: Predictions, images: Images, rows: Ints, wanted: Wanted, progress: str
    ) -> None:
        for row, at, logits in self._leaves(torch.float32, images, rows, wanted, progress):
            found[row, at] = logits.argmax(1).cpu().numpy()

    def _leaves(
        self, dtype: torch.dtype, images: Images, rows: Ints, wanted: Wanted, progress: str
    ) -> Iterator[tuple[int, Ints, Tensor]]:
        """(configuration, positions of images, their logits), batch by batch."""
        values = row_values(self.network, images.shape[1])
        tree = Tree(self._steps(dtype, tuple(np.unique(rows).tolist())), rows, dtype, values)
        positions = np.flatnonzero(wanted.any(0))
        with Progress(len(positions), progress) as bar:
            for start in range(0, len(positions), self.batch):
                at = positions[start : start + self.batch]
                pixels = torch.from_numpy(images[at]).permute(0, 3, 1, 2).to(self.device)
                for row, inside, logits in tree.leaves(
                    self.network.normalize(pixels), wanted[:, at]
                ):
                    yield row, at[inside], logits
                bar.update(len(at))

    def _steps(self, dtype: torch.dtype, widths: tuple[int, ...]) -> list[dict[int, Branch]]:
        """Of each layer, what computes it at each width."""
        quantized = [bits for bits in widths if bits != FLOAT]
        branches = []
        for step in make_steps(self.network, quantized, self.scheme, dtype):
            operators = dict(zip(quantized, step.quantized, strict=True)) | {FLOAT: step.plain}
            branches.append({bits: (step, operator) for bits, operator in operators.items()})
        return branches


@dataclass
class Tree:
    """The tree of sorted configurations, and the walk down it.

    Args:
        branches: of each layer, what computes it at each width.
        rows: widths, (M, layers), sorted, each row once.
        dtype: of activations.
        values: values that an image takes at each layer, (layers,).
    """

    branches: list[dict[int, Branch]]
    rows: Ints
    dtype: torch.dtype
    values: Ints

    def leaves(self, x: Tensor, wanted: Wanted) -> Iterator[tuple[int, Ints, Tensor]]:
        """(configuration, positions in the batch, logits) of images x (B, 3, H, W), normalized."""
        everywhere = np.flatnonzero(wanted.any(0))
        rows = Rows(x) if len(everywhere) == len(x) else Rows(x[everywhere])
        yield from self._descend(0, 0, len(self.rows), rows, everywhere, wanted)

    def _descend(
        self, level: int, first: int, last: int, base: Rows, at: Ints, wanted: Wanted
    ) -> Iterator[tuple[int, Ints, Tensor]]:
        """Below a branch: configurations first to last, images ``at`` with activations base."""
        if level == len(self.branches):
            yield first, at, base.x
            return
        for start, end in _runs(self.rows[first:last, level], first):
            needed = wanted[start:end][:, at].any(0)
            if needed.any():
                inside = np.flatnonzero(needed)
                rows = base if needed.all() else base.picked(torch.from_numpy(inside))
                after = self._through(level, int(self.rows[start, level]), rows)
                yield from self._descend(level + 1, start, end, after, at[inside], wanted)

    def _through(self, level: int, bits: int, base: Rows) -> Rows:
        """One layer, so many images at a time that they fit a core's cache."""
        step, operator = self.branches[level][bits]
        dtype = torch.float32 if level == len(self.branches) - 1 else self.dtype  # of the logits
        size = max(1, CHUNK // int(self.values[level] * self.dtype.itemsize))
        parts = [through(step, operator, part, dtype) for part in base.split(size)]
        return Rows.joined(parts)


def _runs(values: Ints, offset: int) -> Iterator[tuple[int, int]]:
    """Where sorted values are equal: (first, behind the last), shifted by ``offset``."""
    cuts = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)]
    for start, end in itertools.pairwise(cuts):
        yield offset + start, offset + end
