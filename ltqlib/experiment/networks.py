"""Networks that remember: :func:`train` and :func:`decouple` read what is known, else train.

Nothing here imports torch unless something has to be trained or loaded.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ltqlib import paths
from ltqlib.config import PROFILES, RunConfig, brief, from_dict, from_profile
from ltqlib.data import LongTail
from ltqlib.errors import InputError
from ltqlib.evidence import store
from ltqlib.evidence.provenance import Stopwatch
from ltqlib.evidence.records import Record
from ltqlib.experiment.trained import Trained, check_data, load_backbone
from ltqlib.files import remove

if TYPE_CHECKING:
    from ltqlib.models import Network
    from ltqlib.training import Follow

CLASSIFIERS = ("baseline", "crt", "lws", "ncm", "logit-adjusted", "tau-norm")
STATE = "train-state.safetensors"  # of an unfinished training
LEARNED = ("crt", "lws", "ncm")  # kept as weights; the others follow from the baseline's


@dataclass(frozen=True)
class Networks:
    """The networks of one configuration that differ in their seed, with one classifier."""

    data: LongTail
    configs: tuple[RunConfig, ...]
    classifier: str = "baseline"

    def __iter__(self) -> Iterator[Trained]:
        return (Trained(config, self.data, self.classifier) for config in self.configs)

    def __len__(self) -> int:
        return len(self.configs)

    @property
    def seeds(self) -> list[int]:
        """Their seeds, ascending."""
        return [config.seed for config in self.configs]

    @property
    def layers(self) -> dict[str, dict[str, int]]:
        """Quantizable layers in order, the same for every seed."""
        return next(iter(self)).layers


def train(
    data: LongTail,
    arch: str | None = None,
    profile: str = "laptop",
    seeds: Iterable[int] | int | None = None,
    device: str = "auto",
    follow: "Follow | None" = None,
    **recipe: Any,
) -> Networks:
    """Networks trained on ``data``: read where they are published, trained where they are not.

    Args:
        data: its long-tailed training images.
        arch: ``vgg16`` or ``resnet32``; left out, the profile's.
        profile: ``smoke``, ``laptop``, ``paper`` or ``resnet``: width, length and learning rate.
        seeds: one network each, or the only one; left out, every seed that is published (or kept
            here), else 0.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``, where something has to be trained.
        follow: what to read off on the way, and who wants the networks, see
            :class:`ltqlib.training.Follow`; networks that are known are not trained again for it.
        recipe: fields of :class:`ltqlib.config.RunConfig` that differ from the profile's.

    Raises:
        InputError: a field or value that makes no sense, or damaged weights or records.
    """
    changes = {"arch": arch, **recipe} if arch else recipe
    first = from_profile(profile, **data.configuration, **changes)
    wanted = _checked(seeds) if seeds is not None else known_seeds(first) or [first.seed]
    configs = tuple(dataclasses.replace(first, seed=seed) for seed in wanted)
    for config in configs:
        if store.find_record(config.digest()) is None:
            _train(config, data, device, follow)
    return Networks(data, configs)


def decouple(networks: Networks, method: str = "crt", device: str = "auto") -> Networks:
    """The same networks with the classifier of a second stage (Kang et al., ICLR 2020).

    Args:
        networks: what :func:`train` returned.
        method: ``crt`` (classifier re-training), ``lws`` (learned scale a class), ``ncm`` (nearest
            class mean), ``logit-adjusted`` (Menon et al., ICLR 2021, post hoc) or ``tau-norm``
            (weights divided by their norms, tau = 1).

    Raises:
        InputError: an unknown method.
    """
    if method not in CLASSIFIERS[1:]:
        raise InputError(f"method {method!r} is unknown: use one of {', '.join(CLASSIFIERS[1:])}")
    decoupled = dataclasses.replace(networks, classifier=method)
    if method in LEARNED:
        for trained in decoupled:
            if store.find_record(trained.digest, store.STAGE2) is None:
                _decouple(trained, device)
    return decoupled


def _checked(seeds: Iterable[int] | int) -> list[int]:
    """Every seed once, ascending."""
    listed = list(seeds) if isinstance(seeds, Iterable) else [seeds]
    if not listed or not all(isinstance(seed, int | np.integer) for seed in listed):
        raise InputError(f"seeds {brief(seeds)}: give a list of whole numbers")
    return sorted(set(map(int, listed)))


def known_seeds(config: RunConfig) -> list[int]:
    """Seeds, ascending, of the networks in the store that differ from ``config`` in that alone."""
    wanted = dataclasses.replace(config, seed=0)
    others = (other for _, other in _known())
    return sorted(each.seed for each in others if dataclasses.replace(each, seed=0) == wanted)


def _known() -> Iterator[tuple[Record, RunConfig]]:
    """Record and configuration of every network in the store."""
    for digest in store.digests():
        if (record := store.find_record(digest)) is not None:
            yield record, from_dict(record["config"])


def described(data: LongTail) -> dict[str, Any]:
    """What a record says of the data: which images, and how many of each class."""
    return {
        "source": data.name,
        "fingerprint": data.fingerprint,
        "classes": list(data.classes),
        "counts": list(data.counts),
        "groups": {name: list(members) for name, members in data.groups.items()},
    }


def layer_costs(network: "Network") -> dict[str, dict[str, int]]:
    """``{layer: {"parameters", "macs"}}`` of a network, as its record keeps it."""
    from ltqlib.models.graph import graph_of

    layers = graph_of(network).layers.values()
    return {layer.name: {"parameters": layer.parameters, "macs": layer.macs} for layer in layers}


def _train(config: RunConfig, data: LongTail, device: str, follow: "Follow | None") -> None:
    """Stage 1 into ``runs/``: weights first, then the record that names them."""
    from ltqlib import models
    from ltqlib.training.devices import find_device
    from ltqlib.training.stage1 import train_network

    if (known := _same_first_stage(config, data)) is not None:
        _share(known, config)
        return
    digest = config.digest()
    with store.lock(digest):
        if store.find_record(digest) is not None:
            return
        folder = paths.runs(digest)
        resume = folder / STATE
        with Stopwatch() as watch:
            network, told = train_network(config, data, find_device(device), resume, follow=follow)
        told["history"] = columns(told["history"])
        told["weights"] = models.save_checkpoint(network, folder / store.MODEL)
        store.keep_record(
            digest,
            {
                "config": config.public(),
                "data": described(data),
                "layers": layer_costs(network),
                "training": told,
                "provenance": {**watch.provenance(), **_device_words(device)},
            },
        )
        remove(resume)


def columns(rows: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    """A history in a third of the room: a list an entry, None where a row does not have it."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _same_first_stage(config: RunConfig, data: LongTail) -> Trained | None:
    """A network in the store, with its weights, that differs in its second stage alone."""
    wanted = first_stage(config)
    for record, other in _known():
        own = store.FIRST_STAGE not in record and first_stage(other) == wanted
        if own and store.weights(other.digest(), store.MODEL).exists():
            return Trained(other, data)
    return None


def first_stage(config: RunConfig) -> RunConfig:
    """The same with the profile's second stage: its network has the same backbone."""
    usual = PROFILES.get(config.profile, {})
    second = (field for field in dataclasses.fields(config) if field.name.startswith("stage2_"))
    return dataclasses.replace(config, **{f.name: usual.get(f.name, f.default) for f in second})


def _share(known: Trained, config: RunConfig) -> None:
    """The record of a network whose first stage, weights included, is that of ``known``."""
    check_data(known)
    kept = {name: known.record[name] for name in ("data", "layers", "training", "provenance")}
    record = {"config": config.public(), store.FIRST_STAGE: known.digest, **kept}
    with store.lock(config.digest()):
        store.keep_record(config.digest(), record)


def _decouple(trained: Trained, device: str) -> None:
    """The learned classifiers of stage 2 into ``runs/``."""
    from ltqlib import models
    from ltqlib.training.decoupling import decouple_network
    from ltqlib.training.devices import find_device

    with store.lock(trained.digest):
        if store.find_record(trained.digest, store.STAGE2) is not None:
            return
        remove(paths.runs(trained.digest) / STATE)  # killed after its record
        network = load_backbone(trained, device)
        with Stopwatch() as watch:
            heads = decouple_network(trained.config, trained.data, network, find_device(device))
        flat = {f"{name}.{part}": t for name, head in heads.items() for part, t in head.items()}
        path = paths.runs(trained.digest) / store.HEADS
        record = {
            "weights": models.write_tensors(flat, path),
            "provenance": {**watch.provenance(), **_device_words(device)},
        }
        store.keep_record(trained.digest, record, store.STAGE2)


def _device_words(device: str) -> dict[str, str]:
    """Device, threads and number format of a training."""
    import torch

    from ltqlib.training.devices import find_device, has_bf16_units

    found = find_device(device)
    return {
        "device": torch.cuda.get_device_name(found) if found.type == "cuda" else found.type,
        "threads": str(torch.get_num_threads()),
        "training_precision": "bfloat16" if has_bf16_units(found) else "float32",
    }
