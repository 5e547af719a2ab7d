"""Training: one loop for both stages, the losses of long-tailed recognition, and decoupling."""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ltqlib.config import RunConfig
from ltqlib.data import Batches, Dataset, Images, Labels
from ltqlib.errors import disk_errors
from ltqlib.models import Network, build, round_to_float16
from ltqlib.progress import Progress

DRW_START = 0.8  # fraction of training after which LDAM re-weights (160 of 200 epochs)
EFFECTIVE_BETA = 0.9999  # Cui et al. (2019)
LDAM_MARGIN, LDAM_SCALE = 0.5, 30.0  # Cao et al. (2019)

Loss = Callable[[Tensor, Tensor, float], Tensor]  # logits, labels, fraction of training done


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


def make_loss(name: str, counts: list[int], device: torch.device) -> Loss:
    """The loss called ``name`` for classes with ``counts`` training images.

    * ``ce``: cross-entropy.
    * ``class-weighted``: weights ``(1 - beta) / (1 - beta**n_c)``, mean 1 (Cui et al., 2019).
    * ``ldam-drw``: margins ``m_c ~ n_c**-0.25``, scale 30, re-weighted late (Cao et al., 2019).
    * ``balanced-softmax``: logits plus ``log n_c`` (Ren et al., 2020).
    * ``logit-adjusted``: logits plus ``log prior_c`` (Menon et al., 2021, eq. 10, tau 1).

    The last two have the same gradient: they differ by a constant added to every logit.
    """
    n = torch.tensor(counts, dtype=torch.float32, device=device)
    effective = (1 - EFFECTIVE_BETA) / (1 - EFFECTIVE_BETA**n)
    weights = effective / effective.mean()
    margins = LDAM_MARGIN * (n.min() / n) ** 0.25
    if name == "class-weighted":
        return lambda logits, y, _: F.cross_entropy(logits, y, weight=weights)
    if name == "balanced-softmax":
        return lambda logits, y, _: F.cross_entropy(logits + n.log(), y)
    if name == "logit-adjusted":
        return lambda logits, y, _: F.cross_entropy(logits + (n / n.sum()).log(), y)
    if name == "ldam-drw":

        def ldam(logits: Tensor, y: Tensor, done: float) -> Tensor:
            shifted = logits - F.one_hot(y, len(n)) * margins
            late = weights if done >= DRW_START else None
            return F.cross_entropy(LDAM_SCALE * shifted, y, weight=late)

        return ldam
    return lambda logits, y, _: F.cross_entropy(logits, y)


class CosineClassifier(nn.Linear):
    """Linear layer on unit features and unit weights, as LDAM needs (Cao et al., 2019)."""

    def forward(self, features: Tensor) -> Tensor:
        """(B, features) to cosines (B, classes)."""
        return F.linear(F.normalize(features), F.normalize(self.weight))


def learning_rate(step: int, steps: int, peak: float, warmup: float) -> float:
    """Linear warm-up to ``peak``, then half a cosine down to zero at the last step."""
    rising = max(1, round(warmup * steps))
    if step < rising:
        return peak * (step + 1) / rising
    return peak * 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))


def fit(
    network: nn.Module,
    parameters: list[nn.Parameter],
    batches: Batches,
    loss: Loss,
    *,
    epochs: int,
    lr: float,
    momentum: float,
    weight_decay: float,
    warmup: float,
    resume: Path | None,
    progress: str,
) -> list[dict[str, float]]:
    """Train ``parameters`` of ``network`` with SGD; returns one row an epoch (loss, seconds).

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
    steps = epochs * len(batches)
    with Progress(steps, progress) as bar:
        bar.update(len(history) * len(batches))
        for epoch in range(len(history), epochs):
            started, total = time.perf_counter(), torch.zeros((), device=device)
            for step, (pixels, labels) in enumerate(batches.epoch(epoch), epoch * len(batches)):
                optimizer.param_groups[0]["lr"] = learning_rate(step, steps, lr, warmup)
                with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                    logits = network(pixels)
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
    from safetensors.torch import save_file

    state = {f"model.{k}": v.contiguous() for k, v in network.state_dict().items()}
    for i, parameter in enumerate(parameters):
        state[f"momentum.{i}"] = optimizer.state[parameter]["momentum_buffer"].contiguous()
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        save_file(state, partial, metadata={"history": json.dumps(history)})
        partial.replace(path)


def _resume(
    path: Path,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    parameters: list[nn.Parameter],
) -> list[dict[str, float]]:
    """Load what :func:`_keep` wrote; a missing or damaged file means starting afresh."""
    from safetensors import safe_open

    try:
        with safe_open(path, framework="pt", device=str(parameters[0].device)) as file:
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            history = json.loads(file.metadata()["history"])
    except Exception:
        return []
    network.load_state_dict(
        {k.removeprefix("model."): v for k, v in state.items() if k.startswith("model.")}
    )
    for i, parameter in enumerate(parameters):
        like = torch.empty_like(parameter)  # keeps the channels_last strides of the weight
        optimizer.state[parameter]["momentum_buffer"] = like.copy_(state[f"momentum.{i}"])
    return history


def train(
    config: RunConfig, dataset: Dataset, device: torch.device, resume: Path | None = None
) -> tuple[Network, dict[str, Any]]:
    """Stage 1: the whole network on the long-tailed subset.

    Returns:
        the network in eval mode, weights rounded to float16, and ``{"epochs", "history"}``.
    """
    counts, indices = dataset.long_tailed(config.imbalance_factor, config.class_order)
    images, labels = dataset.train_images[indices], dataset.train_labels[indices]
    network = build(config, len(dataset.classes))
    if config.loss == "ldam-drw":
        old = network.classifier
        network.classifier = CosineClassifier(old.in_features, old.out_features, bias=False)
        nn.init.kaiming_uniform_(network.classifier.weight, generator=_generator(config.seed))
    set_normalization(network, images)
    network.to(device)
    batches = make_batches(config, images, labels, config.sampler, config.seed, device)
    epochs = config.epochs or max(1, round(config.train_images / len(labels)))
    network.train()
    history = fit(
        network,
        list(network.parameters()),
        batches,
        make_loss(config.loss, counts, device),
        epochs=epochs,
        lr=config.lr,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        warmup=config.warmup,
        resume=resume,
        progress=f"train {config.label()}",
    )
    network.eval()
    if isinstance(network.classifier, CosineClassifier):
        network.classifier = _as_linear(network.classifier)
    round_to_float16(network)
    return network, {"epochs": epochs, "history": history}


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _as_linear(cosine: CosineClassifier) -> nn.Linear:
    """The plain linear layer with the same argmax: unit weight rows, no bias."""
    linear = nn.Linear(cosine.in_features, cosine.out_features)
    linear.weight = nn.Parameter(F.normalize(cosine.weight.detach()))
    linear.bias = nn.Parameter(torch.zeros(cosine.out_features, device=cosine.weight.device))
    return linear


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
