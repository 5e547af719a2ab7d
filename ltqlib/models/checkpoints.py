"""Weights on disk: float16 safetensors, whole or not at all; nothing unpickles."""

import copy
import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from ltqlib.errors import InputError
from ltqlib.files import write_whole
from ltqlib.models.networks import Network

COUNTER = "num_batches_tracked"  # BatchNorm's counter, which nothing here uses

Head = dict[str, Tensor]  # weight (classes, features) and bias (classes,)


@torch.no_grad()
def round_to_float16(network: nn.Module) -> None:
    """Round every parameter and buffer to float16 precision in place: what is stored *is* it."""
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.is_floating_point():
            tensor.copy_(tensor.half().float())


def save_checkpoint(network: nn.Module, path: Path) -> str:
    """Write the state as float16 safetensors, whole or not at all; returns its SHA-256."""
    state = network.state_dict()
    return write_tensors({k: v for k, v in state.items() if not k.endswith(COUNTER)}, path)


def load_checkpoint(network: nn.Module, path: Path, sha256: str | None = None) -> None:
    """Load a checkpoint into ``network``, after checking that it is the one recorded.

    Raises:
        InputError: the file is missing, truncated, altered, or of another network.
    """
    state = read_tensors(path, sha256)
    try:
        missing, unexpected = network.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise InputError(f"{path} holds tensors of other shapes: delete it") from error
    missing = [name for name in missing if not name.endswith(COUNTER)]
    if missing or unexpected:
        raise InputError(f"{path} is of another network ({(missing + unexpected)[0]}): delete it")


def write_tensors(tensors: Mapping[str, Tensor], path: Path) -> str:
    """Write float tensors as float16 safetensors, atomically; returns the file's SHA-256."""
    from safetensors.torch import save

    content = save({name: value.half().contiguous().cpu() for name, value in tensors.items()})
    write_whole(path, content)
    return hashlib.sha256(content).hexdigest()


def read_tensors(path: Path, sha256: str | None = None) -> dict[str, Tensor]:
    """The float32 tensors of a safetensors file.

    Args:
        path: the file.
        sha256: what its SHA-256 must be; None where something else vouches for the file.

    Raises:
        InputError: the file is missing, truncated or altered.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing: run the training step again") from error
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise InputError(f"{path} is truncated or altered (its SHA-256 differs): delete it")
    try:
        return {name: tensor.float() for name, tensor in load(content).items()}
    except SafetensorError as error:
        raise InputError(f"{path} is truncated or no safetensors file: delete it") from error


def load_heads(tensors: Mapping[str, Tensor]) -> dict[str, Head]:
    """Heads from flat tensors named ``method.weight``, ``method.bias``, and whatever else of the
    network's state the second stage changed (shifted BatchNorm)."""
    heads: dict[str, Head] = {}
    for key, tensor in tensors.items():
        name, _, part = key.partition(".")
        heads.setdefault(name, {})[part] = tensor.float()
    return heads


def with_head(network: Network, head: Head) -> Network:
    """A copy of ``network`` whose classifier has the weights of ``head``; further parts of a head
    replace those of the network's state that have their names."""
    changed = copy.deepcopy(network)
    state = changed.state_dict()
    for part, tensor in head.items():
        state[part if "." in part else f"classifier.{part}"].copy_(tensor)
    return changed
