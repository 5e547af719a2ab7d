"""The step that measures importance: every metric of ``ltqlib.importance``, half by half."""

from typing import Any

import numpy as np
import numpy.typing as npt

from ltqlib.first import importance as measures
from ltqlib.first import models as networks
from ltqlib.first.config import RunConfig
from ltqlib.first.data import Images
from ltqlib.first.models import Network
from ltqlib.first.progress import Progress
from ltqlib.first.quantization import SCHEMES, Scheme
from ltqlib.first.records import pack_numbers, unpack
from ltqlib.first.sensitivity import Configurations
from ltqlib.first.sensitivity.configurations import FLOAT
from ltqlib.first.steps.common import Parents, Payload, checked_dataset, folded

Array = npt.NDArray[np.float64]
Scores = dict[str, Array]
Sample = tuple[Images, npt.NDArray[np.int64]]  # images and their labels


def importance(
    config: RunConfig,
    parents: Parents,
    device: str,
    *,
    model: str,
    scheme: str,
    bits: list[int],
    images: dict[str, int],
    probes: int,
    iterations: int,
    learning: dict[str, Any],
) -> Payload:
    """Every metric on each half of the test images, ``scores[half][metric]``, as packed numbers.

    Axes are (classes, layers, widths), or those of them that the metric has. A metric sees the
    first so many images of every class (``images``) in a fixed random order, or all there are:
    ``outputs`` those of loss, divergence and gradients, ``fisher`` those of FIT, ``curvature``
    those of traces and of the SQNR of outputs, ``eigenvalue`` its own.
    """
    dataset = checked_dataset(config, parents["data"])
    network = folded(config, parents, device, model)
    select = unpack(parents["data"]["payload"]["select"]).astype(bool)
    groups = measures.each_class(dataset.classes)
    found: dict[str, dict[str, Any]] = {}
    for half, mask in (("select", select), ("report", ~select)):
        samples = {
            use: _balanced(dataset.test_images, dataset.test_labels, mask, count)
            for use, count in images.items()
        }
        measure = _Measure(network, SCHEMES[scheme], bits, groups)
        with Progress(4, f"importance {config.label()}, {half}") as bar:
            scores = measure.of_outputs(*samples["outputs"])
            bar.update()
            scores |= measure.of_gradients(*samples["outputs"], *samples["fisher"])
            bar.update()
            scores |= measure.of_curvature(*samples["curvature"], probes)
            scores |= measure.of_eigenvalue(*samples["eigenvalue"], iterations)
            bar.update()
            scores |= measure.learned(*samples["outputs"], learning)
            bar.update()
        found[half] = {name: pack_numbers(values) for name, values in scores.items()}
    return {"layers": list(networks.quantizable_layers(network)), "bits": bits, "scores": found}


def _balanced(
    images: Images, labels: npt.NDArray[np.int64], half: npt.NDArray[np.bool_], count: int
) -> Sample:
    """Up to ``count`` images a class of a half, the same for every run."""
    chosen = []
    for label in np.unique(labels):
        members = np.flatnonzero(half & (labels == label))
        chosen.append(np.random.default_rng([7_040, int(label)]).permutation(members)[:count])
    at = np.sort(np.concatenate(chosen))
    return images[at], labels[at].astype(np.int64)


class _Measure:
    """The metrics of one network, by class."""

    def __init__(
        self, network: Network, scheme: Scheme, bits: list[int], groups: dict[str, list[int]]
    ) -> None:
        self.network, self.scheme, self.bits, self.groups = network, scheme, bits, groups
        self.layers = list(networks.quantizable_layers(network))

    def of_outputs(self, images: Images, labels: npt.NDArray[np.int64]) -> Scores:
        """What one quantized layer does to the loss and to the distribution of the classes."""
        pairs = [(row, bits) for row in range(len(self.layers)) for bits in self.bits]
        widths = np.full((1 + len(pairs), len(self.layers)), FLOAT)
        for number, (row, bits) in enumerate(pairs, start=1):
            widths[number, row] = bits
        reference, *logits = Configurations(self.network, self.scheme).logits(images, widths)
        outputs = [
            (self.layers[row], bits, values)
            for (row, bits), values in zip(pairs, logits, strict=True)
        ]
        of_all = (reference, outputs, labels, self.groups, self.layers, self.bits)
        return {
            "loss": measures.loss_increase(*of_all),
            "kl": measures.kl_divergence(*of_all),
            "sqnr": measures.sqnr(self.network, self.bits, self.scheme),
        }

    def of_gradients(
        self,
        images: Images,
        labels: npt.NDArray[np.int64],
        single: Images,
        single_labels: npt.NDArray[np.int64],
    ) -> Scores:
        """First order: gradients of the classes' losses, and of single images (FIT)."""
        sample = (self.network, images, labels)
        trace = measures.fisher(self.network, single, single_labels, self.groups)
        return {
            "gradient": measures.gradient_importance(*sample, self.groups),
            "grape": measures.gradient_importance(*sample, self.groups, "grape"),
            "taylor": measures.taylor(*sample, self.bits, self.scheme, self.groups),
            "fisher": trace,
            "fit": measures.perturbation(trace, self.network, self.bits, self.scheme),
        }

    def of_curvature(self, images: Images, labels: npt.NDArray[np.int64], probes: int) -> Scores:
        """Second order: HAWQ-v2's trace and perturbation; and the noise in the layers' outputs."""
        sample = (self.network, images, labels)
        trace, error = measures.hessian_trace(*sample, self.groups, probes=probes)
        return {
            "trace": trace,
            "trace_error": error,
            "hawq": measures.perturbation(trace, self.network, self.bits, self.scheme),
            "output_sqnr": measures.output_sqnr(*sample, self.bits, self.scheme, self.groups),
        }

    def of_eigenvalue(
        self, images: Images, labels: npt.NDArray[np.int64], iterations: int
    ) -> Scores:
        """HAWQ's first sensitivity, of the mean loss of all classes."""
        everyone = {"all": list(range(len(self.groups)))}
        value, residual = measures.top_eigenvalue(
            self.network, images, labels, everyone, iterations=iterations
        )
        return {"eigenvalue": value[0], "eigenvalue_residual": residual[0]}

    def learned(
        self, images: Images, labels: npt.NDArray[np.int64], learning: dict[str, Any]
    ) -> Scores:
        """LIMPQ's step sizes; they have no classes."""
        found = measures.learned_importance(
            self.network, images, labels, list(self.groups), self.bits, **learning
        )
        return {"learned": found}
