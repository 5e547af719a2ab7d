"""The sweep over layers and widths: float32, or bfloat16 with close cases settled in float32."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ltqlib.first.data import Images
from ltqlib.first.models import Network, quantizable_layers
from ltqlib.first.progress import Progress
from ltqlib.first.quantization.ptq import Scheme
from ltqlib.first.sensitivity.memory import Mask, batches, image_bytes, row_values
from ltqlib.first.sensitivity.precision import CLOSE, find_precision, margin, margin_error, pilot
from ltqlib.first.sensitivity.walk import Picks, Step, make_steps, walk

MEMORY = 64 * 2**20

Predictions = npt.NDArray[np.uint8]


def one_layer_at_a_time(
    network: Network,
    images: Images,
    widths: tuple[int, ...],
    scheme: Scheme,
    batch: int = 500,
    progress: str = "sensitivity",
    precision: str = "float32",
    memory: int = MEMORY,
) -> dict[str, dict[int, Predictions]]:
    """Predictions with only one layer's weights quantized, for every layer and width.

    Args:
        network: folded, in eval mode.
        images: uint8 (N, H, W, 3).
        widths: weight bits to try.
        batch: images that walk together, at most.
        precision: ``float32``; ``bfloat16``, with the close cases settled in float32; or ``auto``,
            which is bfloat16 where the chip has units for it.
        memory: bytes that the activations may take (weights come on top).

    Returns:
        ``{layer: {bits: predictions (N,)}}``, layers in order of execution.

    Raises:
        InputError: an unknown precision, or a bound that a single image exceeds.
    """
    sweep = Sweep(network, widths, scheme, batch, precision, memory)
    everything = np.ones((len(sweep.layers), len(widths), len(images)), dtype=bool)
    found = sweep.predict(images, everything, progress)
    return {
        layer: dict(zip(widths, by_width, strict=True))
        for layer, by_width in zip(sweep.layers, found, strict=True)
    }


@dataclass
class Sweep:
    """A network, the widths to try on each of its layers, and how to compute."""

    network: Network
    widths: tuple[int, ...]
    scheme: Scheme
    batch: int = 500
    precision: str = "float32"
    memory: int = MEMORY

    def __post_init__(self) -> None:
        self.layers = list(quantizable_layers(self.network))
        self.device = next(self.network.parameters()).device
        self.settled = 0  # predictions that were settled in float32
        self.threshold: npt.NDArray[np.float32] | None = None  # margins up to here are close
        self.precision = find_precision(self.precision, self.device)

    @functools.cached_property
    def exact_steps(self) -> list[Step]:
        """The walk in float32."""
        return make_steps(self.network, self.widths, self.scheme, torch.float32)

    @functools.cached_property
    def fast_steps(self) -> list[Step]:
        """The walk in bfloat16."""
        return make_steps(self.network, self.widths, self.scheme, torch.bfloat16)

    @torch.inference_mode()
    def predict(self, images: Images, wanted: Mask, progress: str = "sensitivity") -> Predictions:
        """Predicted classes.

        Args:
            images: uint8 (N, H, W, 3).
            wanted: which to compute, (layers, widths, N).

        Returns:
            (layers, widths, N); 0 where not wanted.
        """
        found = np.zeros(wanted.shape, dtype=np.uint8)
        if self.precision == "float32":
            self._settle(found, images, wanted, progress)
            return found
        threshold = self.measure(images) if self.threshold is None else self.threshold
        close = np.zeros_like(wanted)
        with Progress(len(images), progress) as bar:
            for at, logits in self._walks(self.fast_steps, images, wanted):
                _put(found, at, wanted, logits.argmax(1))
                margins = np.full((*wanted.shape[:2], len(at)), np.inf, dtype=np.float32)
                margins[wanted[..., at]] = margin(logits)
                # written so that a margin that is no number is close as well
                close[..., at] = ~(margins > threshold[..., None])
                bar.update(len(at))
        self.settled += int(close.sum())
        self._settle(found, images, close, f"{progress}, close cases")
        return found

    def _settle(self, found: Predictions, images: Images, wanted: Mask, progress: str) -> None:
        with Progress(int(wanted.any(axis=(0, 1)).sum()), progress) as bar:
            for at, logits in self._walks(self.exact_steps, images, wanted):
                _put(found, at, wanted, logits.argmax(1))
                bar.update(len(at))

    def measure(self, images: Images) -> npt.NDArray[np.float32]:
        """Set and return the margin up to which a case is close, (layers, widths), of the logits.

        Measured on a few of the images, uint8 (N, H, W, 3).
        """
        self.threshold = CLOSE * self.error(images[pilot(len(images))])
        return self.threshold

    @torch.inference_mode()
    def error(self, images: Images) -> npt.NDArray[np.float32]:
        """Error of bfloat16 in the margin between the two best classes.

        Args:
            images: uint8 (N, H, W, 3), a sample.

        Returns:
            Root mean square over the images, (layers, widths), in units of the logits.
        """
        rounded, exact = (
            self._logits(self.fast_steps, images),
            self._logits(self.exact_steps, images),
        )
        return margin_error(rounded, exact)

    def _logits(self, steps: list[Step], images: Images) -> Tensor:
        """Of every layer and width, (layers, widths, N, classes)."""
        shape = (len(self.layers), len(self.widths))
        everything = np.ones((*shape, len(images)), dtype=bool)
        found = [
            logits.view(*shape, len(at), -1)
            for at, logits in self._walks(steps, images, everything)
        ]
        return torch.cat(found, dim=2)

    def _walks(
        self, steps: list[Step], images: Images, wanted: Mask
    ) -> Iterator[tuple[npt.NDArray[np.int64], Tensor]]:
        """(positions of the images, logits of what is wanted of them), one batch after another."""
        dtype = torch.float32 if steps is self.exact_steps else torch.bfloat16
        values = row_values(self.network, images.shape[1])
        cost = image_bytes(values, wanted, dtype.itemsize)
        for at in batches(cost, wanted, self.batch, self.memory):
            pixels = torch.from_numpy(images[at]).permute(0, 3, 1, 2).to(self.device)
            picks = _picks(wanted[..., at], self.device)
            yield at, walk(steps, self.network.normalize(pixels), dtype, picks)


def _picks(wanted: Mask, device: torch.device) -> Picks:
    """Positions within a batch that a layer and width is wanted for; None for all of them."""

    def picked(layer: int, width: int) -> Tensor | None:
        chosen = wanted[layer, width]
        return None if chosen.all() else torch.from_numpy(np.flatnonzero(chosen)).to(device)

    return picked


def _put(found: Predictions, at: npt.NDArray[np.int64], wanted: Mask, classes: Tensor) -> None:
    """Write predictions, in the order of a walk, to the places of the images ``at``."""
    part = found[..., at]
    part[wanted[..., at]] = classes.cpu().numpy()
    found[..., at] = part
