"""A model by name, and its weights: safetensors or a state dictionary; nothing unpickles."""

import importlib
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ltqlib.data.names import shown
from ltqlib.errors import InputError

COUNTER = "num_batches_tracked"  # BatchNorm's counter, which nothing here uses
ZOOS = ("torchvision", "timm")
WRAPPERS = ("state_dict", "model", "model_state_dict")  # keys that checkpoints put around a state


def find_model(name: str, classes: int) -> nn.Module:
    """``torchvision:resnet18``, ``timm:NAME``, or what ``package.module:callable`` returns.

    Raises:
        InputError: no such package, module, callable or model, or it returns no torch module.
    """
    where, colon, what = name.partition(":")
    if not colon or not where or not what:
        raise InputError(
            f"model {shown(name)!r} is none of torchvision:NAME, timm:NAME, "
            "package.module:callable, a file.onnx and the digest of a network that `ltq show` lists"
        )
    if where in ZOOS:
        return _from_zoo(where, what, classes)
    return _called(where, what)


def _from_zoo(zoo: str, name: str, classes: int) -> nn.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            package = importlib.import_module("torchvision.models" if zoo == "torchvision" else zoo)
    except ImportError as error:
        raise InputError(f"{zoo}:{name} needs {zoo}, which is not installed") from error
    own = {"module": package} if zoo == "torchvision" else {}  # without its detectors
    if name not in package.list_models(**own):
        raise InputError(f"{zoo} has no classifier {shown(name)!r}: see its list_models()")
    with warnings.catch_warnings():  # of initial weights, which are replaced
        warnings.simplefilter("ignore")
        make = package.get_model if zoo == "torchvision" else package.create_model
        return make(name, num_classes=classes)


def _called(where: str, what: str) -> nn.Module:
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # the reader's own module lies beside the data
    try:
        found = getattr(importlib.import_module(where), what)
    except ImportError as error:
        raise InputError(
            f"{where} cannot be imported ({error}): give package.module:callable"
        ) from error
    except AttributeError as error:
        raise InputError(f"{where} has no {what!r}: give package.module:callable") from error
    try:
        model = found if isinstance(found, nn.Module) else found()
    except Exception as error:  # it is the reader's code
        raise InputError(f"{where}:{what}() fails ({type(error).__name__}: {error})") from error
    if not isinstance(model, nn.Module):
        raise InputError(f"{where}:{what}() returns {type(model).__name__}, not a torch module")
    return model


def load_weights(model: nn.Module, path: Path) -> None:
    """Weights from a file into a model, all of them.

    Raises:
        InputError: the file is missing, holds something else than tensors, or does not match.
    """
    state = {name.removeprefix("module."): value for name, value in read_state(path).items()}
    own = model.state_dict()
    wrong = [n for n in own if n not in state and not n.endswith(COUNTER)]
    if wrong:
        raise InputError(f"{shown(path)} does not match the model: {wrong[0]!r} is missing"
                         f" (of {len(own)} tensors {len(wrong)} are)")  # fmt: skip
    if wrong := [n for n in state if n not in own]:
        raise InputError(
            f"{shown(path)} does not match the model, which has no {shown(wrong[0])!r}"
        )
    for name, value in state.items():
        if value.shape != own[name].shape:
            raise InputError(
                f"{shown(path)} does not match the model: {name!r} is {tuple(value.shape)} in the "
                f"file and {tuple(own[name].shape)} in the model"
            )
    model.load_state_dict(state, strict=False)


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of a state dictionary that torch saved.

    Raises:
        InputError: the file is missing, or holds something else.
    """
    try:
        content = path.read_bytes() if path.suffix == ".safetensors" else b""
        if content:
            from safetensors.torch import load

            return load(content)
        held = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"{shown(path)} cannot be read ({error.strerror})") from error
    except Exception as error:  # safetensors and torch raise many kinds
        raise InputError(
            f"{shown(path)} is neither a safetensors file nor a state dictionary that torch reads "
            "with weights_only=True"
        ) from error
    return _state(held, path)


def _state(held: Any, path: Path) -> dict[str, Tensor]:
    for wrapper in WRAPPERS:
        if isinstance(held, Mapping) and isinstance(held.get(wrapper), Mapping):
            held = held[wrapper]
    if not isinstance(held, Mapping) or not all(isinstance(v, Tensor) for v in held.values()):
        raise InputError(f"{shown(path)} holds no state dictionary: save model.state_dict()")
    return dict(held)
