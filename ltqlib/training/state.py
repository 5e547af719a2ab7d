"""The state of an unfinished training on disk: whole, checked, and exact."""

import hashlib
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ltqlib.files import write_whole
from ltqlib.training.averaging import Average

EVERY = 20.0  # seconds between two writings: what an interruption costs at most, beside an epoch

Row = dict[str, Any]  # of the history: epoch, loss, seconds, and what a caller adds


class Keeper:
    """Writes and reads the state of one training: weights, momenta, average and history.

    ``path`` is that of a safetensors file; with None nothing is kept.
    """

    def __init__(
        self,
        path: Path | None,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        average: Average | None = None,
    ) -> None:
        self.path, self.network, self.optimizer, self.average = path, network, optimizer, average
        self.written = time.monotonic()

    def resume(self) -> list[Row]:
        """Load what was written into network, optimizer and average; returns the history.

        A missing or damaged file, or one of another network, means starting afresh: ``[]``.
        """
        if self.path is None:
            return []
        try:
            tensors, history = _read(self.path)
            weights = {k.removeprefix("model."): v for k, v in tensors.items() if k[:6] == "model."}
            if _shapes(weights) != _shapes(self.network.state_dict()):
                return []
            momenta = [tensors[f"momentum.{i}"] for i in range(len(self._parameters()))]
            if self.average:
                self.average.load(tensors)
        except Exception:  # whatever is wrong with it, training starts afresh
            return []
        self.network.load_state_dict(weights)
        for parameter, momentum in zip(self._parameters(), momenta, strict=True):
            # empty_like keeps the channels_last strides of the weight
            buffer = torch.empty_like(parameter).copy_(momentum)
            self.optimizer.state[parameter]["momentum_buffer"] = buffer
        return history

    def after_epoch(self, history: list[Row]) -> None:
        """Write the state, unless that was done a moment ago."""
        if self.path and time.monotonic() - self.written >= EVERY:
            self._write(self.path, history)
            self.written = time.monotonic()

    def _write(self, path: Path, history: list[Row]) -> None:
        from safetensors.torch import save

        state = {f"model.{name}": value for name, value in self.network.state_dict().items()}
        for i, parameter in enumerate(self._parameters()):
            buffer = self.optimizer.state[parameter].get("momentum_buffer")
            state[f"momentum.{i}"] = torch.zeros_like(parameter) if buffer is None else buffer
        if self.average:
            state |= self.average.state()
        state = {name: value.detach().contiguous().cpu() for name, value in state.items()}
        told = json.dumps(history)
        sums = {"checksum": _sum(state), "told": hashlib.sha256(told.encode()).hexdigest()}
        write_whole(path, save(state, {"history": told, **sums}))

    def _parameters(self) -> list[nn.Parameter]:
        parameters: list[nn.Parameter] = self.optimizer.param_groups[0]["params"]
        return parameters


def _read(path: Path) -> tuple[dict[str, Tensor], list[Row]]:
    """Tensors and history; any exception means that there is no state to go on from."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    told = hashlib.sha256(metadata["history"].encode()).hexdigest()
    # states of before have no checksum of the history
    if metadata["checksum"] != _sum(tensors) or metadata.get("told", told) != told:
        raise ValueError("the checksum differs")
    return tensors, json.loads(metadata["history"])


def _shapes(tensors: dict[str, Tensor]) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in tensors.items()}


def _sum(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over names and bytes of the tensors: safetensors itself has none."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(tensors[name].numpy()).data)
    return digest.hexdigest()
