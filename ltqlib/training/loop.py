"""The training loop of both stages, from top to bottom."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ltqlib.progress import Progress
from ltqlib.training.averaging import Average
from ltqlib.training.captured import Captured
from ltqlib.training.devices import has_bf16_units
from ltqlib.training.samplers import Source
from ltqlib.training.schedules import learning_rate
from ltqlib.training.sharpness import at_highest_neighbour
from ltqlib.training.state import Keeper, Row


@dataclass(frozen=True)
class Recipe:
    """How the parameters are stepped; the fields of a configuration, for one stage."""

    epochs: int
    lr: float  # peak
    momentum: float
    weight_decay: float
    warmup: float = 0.0  # share of the steps
    schedule: str = "cosine"
    sam: float = 0.0  # rho


def fit(
    network: nn.Module,
    parameters: list[nn.Parameter],
    batches: Source,
    loss: Callable[[Tensor, Any, float], Tensor],
    recipe: Recipe,
    *,
    resume: Path | None = None,
    average: Average | None = None,
    after_epoch: Callable[[Row], None] = lambda row: None,
    progress: str = "train",
    compiled: bool = False,
) -> list[Row]:
    """Train ``parameters`` of ``network`` with SGD; returns one row an epoch (loss, seconds).

    ``loss`` takes logits, labels as ``batches`` give them, and the share of the steps done;
    ``average`` takes in the weights on the way; ``after_epoch`` may add to a row before it is kept.

    With ``resume`` the state is written there after an epoch, at most every 20 seconds, and a later
    call with the same arguments goes on from it: the result is that of an uninterrupted run, bit
    for bit on the same machine. No test image is looked at, and the last epoch is the result.
    """
    decay, nesterov = recipe.weight_decay, recipe.momentum > 0
    optimizer = torch.optim.SGD(
        parameters, recipe.lr, recipe.momentum, weight_decay=decay, nesterov=nesterov
    )
    keeper = Keeper(resume, network, optimizer, average)
    history, device = keeper.resume(), parameters[0].device
    step_once = _make_step(network, optimizer, loss, recipe.sam, compiled)
    steps = recipe.epochs * len(batches)
    with Progress(steps, progress, done=len(history) * len(batches)) as bar:
        for epoch in range(len(history), recipe.epochs):
            started, total = time.perf_counter(), torch.zeros((), device=device)
            for step, (pixels, labels) in enumerate(batches.epoch(epoch), epoch * len(batches)):
                rate = learning_rate(step, steps, recipe.lr, recipe.warmup, recipe.schedule)
                optimizer.param_groups[0]["lr"] = rate
                total += step_once(pixels, labels, step / steps)
                if average:
                    average.after_step(step, len(batches))
                bar.update(1)
            mean, seconds = float(total) / len(batches), time.perf_counter() - started
            history.append({"epoch": epoch + 1, "loss": mean, "seconds": round(seconds, 2)})
            after_epoch(history[-1])
            keeper.after_epoch(history)
    return history


def _make_step(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss: Callable[[Tensor, Any, float], Tensor],
    sam: float,
    compiled: bool,
) -> Callable[[Tensor, Any, float], Tensor]:
    """One step of the optimizer: a function of images, labels and the share of the steps done.

    It returns the loss of the batch before the step.
    """
    parameters = optimizer.param_groups[0]["params"]
    device = parameters[0].device
    bf16 = has_bf16_units(device)
    forward = torch.compile(network) if compiled else network  # shares the parameters

    def gradient(pixels: Tensor, labels: Any, done: float) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            logits = forward(pixels)
        value = loss(logits.float(), labels, done)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        return value.detach()

    def gradient_of_step(pixels: Tensor, labels: Any, done: float) -> Tensor:
        value = gradient(pixels, labels, done)
        if sam:
            with at_highest_neighbour(network, parameters, sam):
                gradient(pixels, labels, done)
        return value

    fast = Captured(gradient_of_step) if device.type == "cuda" else gradient_of_step

    def step(pixels: Tensor, labels: Any, done: float) -> Tensor:
        value = fast(pixels, labels, done)
        optimizer.step()
        return value

    return step
