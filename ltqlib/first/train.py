"""Training: one visible loop for both stages, and stage 1."""

import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ltqlib.first import convolutions
from ltqlib.first.config import RunConfig
from ltqlib.first.data import Batches, Dataset, Images, Labels
from ltqlib.first.files import write_whole
from ltqlib.first.losses import CosineClassifier, as_linear, make_loss
from ltqlib.first.mixup import MixedBatches, of_pairs
from ltqlib.first.models import Network, build, round_to_float16
from ltqlib.first.progress import Progress

# Images of a training from which on a ResNet is compiled: the minute that takes is then made up for
COMPILED_FROM = 500_000


def find_device(wanted: str = "auto") -> torch.device:
    """``auto`` is CUDA, else MPS, else the CPU."""
    if wanted != "auto":
        return torch.device(wanted)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def has_bf16_units(device: torch.device) -> bool:
    """Whether bfloat16 matrix products run on hardware made for them (AMX, AVX512-BF16, CUDA)."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        cpu = torch.cpu
        return bool(cpu._is_amx_tile_supported() or cpu._is_avx512_bf16_supported())
    return False


def pays_to_compile(arch: str, images: int, device: torch.device) -> bool:
    """Whether ``torch.compile`` makes a training of so many images shorter.

    Where a CPU has units for bfloat16, a ResNet-32 spends more time in BatchNorm, ReLU and sums
    than in its convolutions; compiled it trains 1.27 times as fast (book/log.md). In float32, and
    a VGG16, it does not; a GPU was not tried. Needs a C++ compiler.
    """
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    quick_products = device.type == "cpu" and has_bf16_units(device)
    return images >= COMPILED_FROM and arch == "resnet32" and quick_products and bool(compiler)


def learning_rate(
    step: int, steps: int, peak: float, warmup: float, schedule: str = "cosine"
) -> float:
    """Linear warm-up to ``peak``, then the schedule.

    * ``cosine``: half a cosine down to zero at the last step.
    * ``step``: ``peak``, x 0.01 from 80 % of the steps on and x 0.0001 from 90 % (LDAM-DRW's
      epochs 160 and 180 of 200; Cao et al., 2019).
    """
    rising = max(1, round(warmup * steps))
    if step < rising:
        return peak * (step + 1) / rising
    if schedule == "step":
        return peak * (1e-4 if step >= 0.9 * steps else 1e-2 if step >= 0.8 * steps else 1)
    return peak * 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))


def fit(
    network: nn.Module,
    parameters: list[nn.Parameter],
    batches: Batches | MixedBatches,
    loss: Callable[[torch.Tensor, Any, float], torch.Tensor],
    *,
    epochs: int,
    lr: float,
    momentum: float,
    weight_decay: float,
    warmup: float,
    resume: Path | None,
    progress: str,
    schedule: str = "cosine",
    compiled: bool = False,
) -> list[dict[str, float]]:
    """Train ``parameters`` of ``network`` with SGD; returns one row an epoch (loss, seconds).

    ``loss`` takes logits, labels as ``batches`` give them, and the fraction of training done.

    With ``resume``, the state after every epoch is kept there and a later call with the same
    arguments goes on from it: the result is that of an uninterrupted run, bit for bit on the same
    machine. No test image is looked at, and the last epoch is the result.
    """
    optimizer = torch.optim.SGD(
        parameters, lr=lr, momentum=momentum, weight_decay=weight_decay, nesterov=True
    )
    history = _resume(resume, network, optimizer, parameters) if resume else []
    device = parameters[0].device
    bf16 = has_bf16_units(device)
    forward = torch.compile(network) if compiled else network  # shares the parameters
    steps = epochs * len(batches)
    with Progress(steps, progress) as bar:
        bar.update(len(history) * len(batches))
        for epoch in range(len(history), epochs):
            started, total = time.perf_counter(), torch.zeros((), device=device)
            for step, (pixels, labels) in enumerate(batches.epoch(epoch), epoch * len(batches)):
                optimizer.param_groups[0]["lr"] = learning_rate(step, steps, lr, warmup, schedule)
                with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                    logits = forward(pixels)
                value = loss(logits.float(), labels, step / steps)
                optimizer.zero_grad(set_to_none=True)
                value.backward()
                optimizer.step()
                total += value.detach()
                bar.update(1)
            seconds = time.perf_counter() - started
            mean = float(total) / len(batches)
            history.append({"epoch": epoch + 1, "loss": mean, "seconds": round(seconds, 2)})
            if resume:
                _keep(resume, network, optimizer, parameters, history)
    return history


def _keep(
    path: Path,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    parameters: list[nn.Parameter],
    history: list[dict[str, float]],
) -> None:
    """Write the whole training state, atomically, as safetensors."""
    from safetensors.torch import save

    state = {f"model.{k}": v.contiguous().cpu() for k, v in network.state_dict().items()}
    for i, parameter in enumerate(parameters):
        state[f"momentum.{i}"] = optimizer.state[parameter]["momentum_buffer"].contiguous().cpu()
    metadata = {"history": json.dumps(history), "checksum": _state_checksum(state)}
    write_whole(path, save(state, metadata))


def _state_checksum(state: dict[str, torch.Tensor]) -> str:
    """SHA-256 over names and bytes of the tensors: safetensors itself has none."""
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(state[name].numpy()).data)
    return digest.hexdigest()


def _resume(
    path: Path,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    parameters: list[nn.Parameter],
) -> list[dict[str, float]]:
    """Load what :func:`_keep` wrote; a missing or damaged file means starting afresh."""
    from safetensors import safe_open

    try:
        with safe_open(path, framework="pt") as file:
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            metadata = file.metadata()
        weights = {k.removeprefix("model."): v for k, v in state.items() if k.startswith("model.")}
        expected = {k: v.shape for k, v in network.state_dict().items()}
        if metadata["checksum"] != _state_checksum(state):
            return []
        if expected != {k: v.shape for k, v in weights.items()}:
            return []
        history = json.loads(metadata["history"])
    except Exception:  # whatever is wrong with it, training starts afresh
        return []
    network.load_state_dict(weights)
    for i, parameter in enumerate(parameters):
        # empty_like keeps the channels_last strides of the weight
        momentum = torch.empty_like(parameter).copy_(state[f"momentum.{i}"])
        optimizer.state[parameter]["momentum_buffer"] = momentum
    return history


def train(
    config: RunConfig, dataset: Dataset, device: torch.device, resume: Path | None = None
) -> tuple[Network, dict[str, Any]]:
    """Stage 1: the whole network on the long-tailed subset.

    Returns:
        the network in eval mode, weights rounded to float16, and ``{"epochs", "history",
        "compiled"}``.
    """
    counts, indices = dataset.long_tailed(config.imbalance_factor, config.class_order)
    images, labels = dataset.train_images[indices], dataset.train_labels[indices]
    network = build(config, len(dataset.classes))
    if config.loss == "ldam-drw":
        old = network.classifier
        with torch.random.fork_rng(devices=[]):  # the constructor draws; leave no trace
            network.classifier = CosineClassifier(old.in_features, old.out_features, bias=False)
        nn.init.kaiming_uniform_(network.classifier.weight, generator=_generator(config.seed))
    set_normalization(network, images)
    network.to(device)
    batches = make_batches(config, images, labels, config.sampler, config.seed, device)
    epochs = config.epochs or max(1, round(config.train_images / len(labels)))
    images_seen = epochs * len(batches) * batches.batch_size
    compiled = pays_to_compile(config.arch, images_seen, device)
    loss = make_loss(config.loss, counts, device)
    network.train()
    with convolutions.fast(network, device):
        history = fit(
            network,
            list(network.parameters()),
            MixedBatches(batches, config.mixup, config.seed) if config.mixup else batches,
            of_pairs(loss) if config.mixup else loss,
            epochs=epochs,
            lr=config.lr,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            warmup=config.warmup,
            resume=resume,
            progress=f"train {config.label()}",
            schedule=config.schedule,
            compiled=compiled,
        )
    network.eval()
    if isinstance(network.classifier, CosineClassifier):
        network.classifier = as_linear(network.classifier)
    round_to_float16(network)
    return network, {"epochs": epochs, "history": history, "compiled": compiled}


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def set_normalization(network: Network, images: Images) -> None:
    """Channel mean and standard deviation of the training subset, at float16 precision."""
    pixels = images.reshape(-1, 3).astype(np.float64)
    shape = (1, 3, 1, 1)
    network.normalize.mean.copy_(torch.from_numpy(pixels.mean(0)).half().reshape(shape))
    network.normalize.std.copy_(torch.from_numpy(pixels.std(0)).half().reshape(shape))


def make_batches(
    config: RunConfig,
    images: Images,
    labels: Labels,
    sampler: str,
    seed: int,
    device: torch.device,
) -> Batches:
    """Training batches as ``config`` says, with a sampler and seed of the caller's."""
    return Batches(
        images,
        labels,
        batch_size=min(config.batch_size, len(labels)),
        sampler=sampler,
        augment=config.augment,
        seed=seed,
        device=device,
    )
