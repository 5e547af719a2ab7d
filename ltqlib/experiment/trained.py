"""One trained network with one classifier: its record, its weights, its graph.

Nothing here imports torch unless weights have to be loaded.
"""

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ltqlib.config import RunConfig
from ltqlib.data import LongTail
from ltqlib.errors import InputError
from ltqlib.evidence import store
from ltqlib.evidence.records import Record

if TYPE_CHECKING:
    from ltqlib.models import Graph, Head, Network


@dataclass(frozen=True)
class Trained:
    """One trained network with one classifier: what evaluations are about."""

    config: RunConfig
    data: LongTail
    classifier: str = "baseline"

    @property
    def digest(self) -> str:
        """Of its configuration: the name of its folder."""
        return self.config.digest()

    @property
    def record(self) -> Record:
        """How it was trained: ``config``, ``data``, ``layers``, ``training``, ``provenance``."""
        record = store.find_record(self.digest)
        if record is None:
            raise InputError(f"network {self.digest} is not trained: call train first")
        return record

    @property
    def layers(self) -> dict[str, dict[str, int]]:
        """Quantizable layers in order: ``{name: {"parameters", "macs"}}``."""
        return self.record["layers"]

    def load(self, device: str = "auto") -> "Network":
        """The network with its classifier, in eval mode."""
        from ltqlib import models

        network = load_backbone(self, device)
        if self.classifier == "baseline":
            return network
        return models.with_head(network, _head(self, network))

    def graph(self, device: str = "auto") -> "Graph":
        """Its graph: folded, with the layers by name; those of the last calls are in memory."""
        stage2 = store.find_record(self.digest, store.STAGE2) or {}
        return _graph(self, device, (self.record["training"]["weights"], stage2.get("weights")))


@functools.lru_cache(maxsize=4)
def _graph(trained: Trained, device: str, weights: tuple[str, str | None]) -> "Graph":
    """Tracing takes a second: one graph for all evaluations of the same weights."""
    from ltqlib.models.graph import graph_of

    return graph_of(trained.load(device))


def check_data(trained: Trained) -> None:
    """Refuse data that are not those that the network was trained on."""
    told = trained.record["data"]["fingerprint"]
    if trained.data.fingerprint != told:
        raise InputError(
            f"network {trained.digest} was trained on other images (fingerprint {told}, not"
            f" {trained.data.fingerprint}): bring them back, or train again"
        )


def load_backbone(trained: Trained, device: str) -> "Network":
    """The network with the classifier of its first stage, in eval mode."""
    from ltqlib import models
    from ltqlib.training.devices import find_device

    record = trained.record
    network = models.build(trained.config, len(record["data"]["classes"]))
    path = store.weights(record.get(store.FIRST_STAGE, trained.digest), store.MODEL)
    models.load_checkpoint(network, path, record["training"]["weights"])
    return network.to(find_device(device)).eval()


def _head(trained: Trained, network: "Network") -> "Head":
    """The weights of a classifier other than the baseline's."""
    from ltqlib import models
    from ltqlib.training import heads

    if trained.classifier == "logit-adjusted":
        return heads.logit_adjusted(heads.head_of(network), trained.record["data"]["counts"])
    if trained.classifier == "tau-norm":
        return heads.tau_normalized(heads.head_of(network), 1.0)
    record = store.find_record(trained.digest, store.STAGE2)
    if record is None:
        raise InputError(f"network {trained.digest} has no second stage: call decouple first")
    path = store.weights(trained.digest, store.HEADS)
    return models.load_heads(models.read_tensors(path, record["weights"]))[trained.classifier]
