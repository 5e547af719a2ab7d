"""Stage 1: the whole network on the long-tailed training images."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ltqlib.config import RunConfig
from ltqlib.data import Images, LongTail
from ltqlib.models import Network, build, round_to_float16
from ltqlib.models.networks import ConvUnit
from ltqlib.training import convolutions
from ltqlib.training.averaging import Average
from ltqlib.training.devices import worth_compiling
from ltqlib.training.following import Follow, Snapshot, quantities
from ltqlib.training.holdout import Part, training_part
from ltqlib.training.loop import Recipe, fit
from ltqlib.training.losses import CosineClassifier, as_linear, make_loss
from ltqlib.training.mixup import MixedBatches, of_pairs
from ltqlib.training.samplers import Deferred, Source, make_batches
from ltqlib.training.state import Row


def train_network(
    config: RunConfig,
    data: LongTail,
    device: torch.device,
    resume: Path | None = None,
    *,
    follow: Follow | None = None,
) -> tuple[Network, dict[str, Any]]:
    """Train the network of ``config`` on the training images of ``data``.

    Args:
        config: architecture, length, sampler, loss and recipes.
        data: its long-tailed training images, less those that ``config.holdout`` keeps away.
        device: where to train.
        resume: where the state of an interrupted training lies, and is written to on the way; the
            caller deletes it when the result is safe.
        follow: what to read off, and hand out, on the way; it changes nothing.

    Returns:
        the network in eval mode, weights rounded to float16 precision, and ``{"epochs",
        "history", "compiled"}`` with one row an epoch. With ``ema`` or ``swa`` it is the averaged
        network, else that of the last step.

    Raises:
        InputError: fields that exclude one another, a holdout that empties a class, a full disk.
    """
    part = training_part(data, config.holdout)
    network = _fresh_network(config, part.images, len(data.classes)).to(device)
    epochs = config.epochs or max(1, round(config.train_images / len(part.labels)))
    batches, loss = _batches(config, part, epochs, device), _loss(config, part, device)
    images_seen = epochs * len(batches) * min(config.batch_size, len(part.labels))
    compiled = worth_compiling(config.arch, images_seen, device)
    averages = config.ema or config.swa
    average = Average(network, config.ema, config.swa, epochs) if averages else None
    network.train()
    with convolutions.fast(network, device):
        history = fit(
            network,
            list(network.parameters()),
            batches,
            loss,
            _recipe(config, epochs),
            resume=resume,
            average=average,
            after_epoch=_observer(follow, network, average, batches, part, data),
            progress=f"train {config.label()}",
            compiled=compiled,
        )
        last = average.network(network, batches, epochs) if average else network
    return finished(last), {"epochs": epochs, "history": history, "compiled": compiled}


def finished(network: Network) -> Network:
    """A copy as it is evaluated: in eval mode, at float16 precision, a plain linear classifier."""
    network = copy.deepcopy(network).eval()
    for module in network.modules():
        if isinstance(module, ConvUnit):
            module.convolve = None
    if isinstance(network.classifier, CosineClassifier):
        network.classifier = as_linear(network.classifier)
    round_to_float16(network)
    return network


def set_normalization(network: Network, images: Images) -> None:
    """Channel mean and standard deviation of the training images, at float16 precision."""
    pixels = images.reshape(-1, 3).astype(np.float64)
    shape = (1, 3, 1, 1)
    network.normalize.mean.copy_(torch.from_numpy(pixels.mean(0)).half().reshape(shape))
    network.normalize.std.copy_(torch.from_numpy(pixels.std(0)).half().reshape(shape))


def _fresh_network(config: RunConfig, images: Images, classes: int) -> Network:
    network = build(config, classes)
    if config.loss == "ldam-drw":
        old = network.classifier
        with torch.random.fork_rng(devices=[]):  # the constructor draws; leave no trace
            network.classifier = CosineClassifier(old.in_features, old.out_features, bias=False)
        generator = torch.Generator().manual_seed(config.seed)
        nn.init.kaiming_uniform_(network.classifier.weight, generator=generator)
    set_normalization(network, images)
    return network


def _batches(config: RunConfig, part: Part, epochs: int, device: torch.device) -> Source:
    batches: Source
    batches = make_batches(config, part.images, part.labels, config.sampler, config.seed, device)
    if config.deferred == "resample":
        late = make_batches(config, part.images, part.labels, "class", config.seed, device)
        batches = Deferred(batches, late, epochs)
    return MixedBatches(batches, config.mixup, config.seed) if config.mixup else batches


def _loss(config: RunConfig, part: Part, device: torch.device) -> Callable[..., torch.Tensor]:
    loss = make_loss(
        config.loss, part.counts, device, deferred=config.deferred, smoothing=config.smoothing
    )
    return of_pairs(loss) if config.mixup else loss


def _recipe(config: RunConfig, epochs: int) -> Recipe:
    return Recipe(
        epochs=epochs,
        lr=config.lr,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        warmup=config.warmup,
        schedule=config.schedule,
        sam=config.sam,
    )


def _observer(
    follow: Follow | None,
    network: Network,
    average: Average | None,
    batches: Source,
    part: Part,
    data: LongTail,
) -> Callable[[Row], None]:
    """What happens after each epoch: at those that are followed, a snapshot is handed out."""

    def look(row: Row) -> None:
        passes = int(row["epoch"])
        if follow is None or passes not in follow.passes:
            return
        now = finished(network)
        row["followed"] = found = quantities(now, part, data.groups)
        mean = finished(average.network(network, batches, passes)) if average else None
        if mean is not None:
            found["average"] = quantities(mean, part, data.groups)
        follow.keep(Snapshot(passes, now, mean, found))

    return look
