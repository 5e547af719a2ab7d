"""A quantized model as a safetensors file whose integers are packed at their width, without gaps.

An integer of ``b`` bits is stored as ``q - quant_min``, its bits behind those of the one before,
lowest first. The tensors of the file are exactly ``model_size`` bytes; before them stands
safetensors' header, some kilobytes of JSON, which says what they are:

* ``NAME``: a constant of the graph (biases with their corrections added). A quantized weight is a
  row of bytes; its shape (C_out, C_in / groups, ...), bits and scheme are in the metadata.
* ``NAME.scale`` (float32) and ``NAME.zero_point`` (uint8, less ``quant_min``; none where the grid
  is symmetric): one a tensor, or one a slice along dimension 0.
* ``NAME.input.scale``, ``NAME.input.zero_point``: the grid of the layer's input.

The metadata hold ``layers`` (JSON: layer, name, shape, bits, scheme) and a checksum. Reading needs
nothing but NumPy.
"""

import hashlib
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ltqlib.errors import InputError
from ltqlib.files import write_whole

if TYPE_CHECKING:
    from torch import Tensor

    from ltqlib.quantization import QParams, QTensor, Quantized

FORMAT = "ltq-packed-1"
DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2"}
DTYPES |= {"I8": "i1", "U8": "u1", "BOOL": "?"}  # of safetensors, as NumPy calls them
Arrays = dict[str, npt.NDArray[Any]]


def load_packed(path: Path | str) -> Arrays:
    """The tensors of a packed file by name, quantized weights dequantized to float32.

    Raises:
        InputError: the file is missing, damaged, or none that :func:`save_packed` wrote.
    """
    try:
        data = bytearray(Path(path).read_bytes())
        start = 8 + int.from_bytes(data[:8], "little")
        header, data = json.loads(data[8:start]), data[start:]
        about = header.pop("__metadata__")
        if about["format"] != FORMAT or about["sha256"] != hashlib.sha256(data).hexdigest():
            raise ValueError("another format, or altered")
        tensors = {}
        for name, of in header.items():
            values = np.frombuffer(data[slice(*of["data_offsets"])], DTYPES[of["dtype"]])
            tensors[name] = values.reshape(of["shape"])
        weights = [layer for layer in json.loads(about["layers"]).values() if "bits" in layer]
        return tensors | {layer["name"]: _dequantized(tensors, **layer) for layer in weights}
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing: save the model first") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is damaged or no packed model: save the model again") from error


def _dequantized(tensors: Arrays, name: str, shape: list[int], bits: int, **_: Any) -> Any:
    flags = np.unpackbits(tensors[name], count=math.prod(shape) * bits, bitorder="little")
    integers = np.packbits(flags.reshape(-1, bits), axis=1, bitorder="little").reshape(shape)
    middle = np.array(2 ** (bits - 1) - 1)  # where zero is on a symmetric grid
    scale, zero = tensors[f"{name}.scale"], tensors.get(f"{name}.zero_point", middle)
    along = [-1, *[1] * (len(shape) - 1)]
    steps = integers.astype(np.int32) - (zero.reshape(along) if zero.ndim else zero)
    return steps.astype(np.float32) * (scale.reshape(along) if scale.ndim else scale)


def save_packed(quantized: "Quantized", path: Path | str) -> int:
    """Write a quantized model as a packed safetensors file, whole or not at all.

    Returns:
        bytes of the file: ``quantized.model_size`` of tensors, the rest is the header.

    Raises:
        InputError: the disk is full or cannot be written.
    """
    from safetensors.numpy import save

    tensors = _constants(quantized)
    layers: dict[str, dict[str, Any]] = {}
    for layer, variant in quantized.variants.items():
        name = quantized.graph.layers[layer].attribute
        layers[layer] = {"name": name}
        if variant.weight is not None:
            tensors[name] = _packed(variant.weight)
            tensors |= _grid(name, variant.weight.qparams)
            layers[layer] |= {"shape": list(variant.weight.integers.shape)}
            layers[layer] |= _described(variant.weight.qparams)
        if variant.input is not None:
            tensors |= _grid(f"{name}.input", variant.input)
            layers[layer]["input"] = _described(variant.input)
    about = {"format": FORMAT, "method": quantized.method, "layers": json.dumps(layers)}
    plain = save(tensors)
    payload = plain[8 + int.from_bytes(plain[:8], "little") :]
    content = save(tensors, about | {"sha256": hashlib.sha256(payload).hexdigest()})
    write_whole(Path(path), content)
    return len(content)


def _constants(quantized: "Quantized") -> Arrays:
    """Everything that the graph holds, with corrected biases; weights are still to be replaced."""
    from ltqlib.deploy.parts import bias_at
    from ltqlib.quantization.sites import own_bias

    graph = quantized.graph
    used = {str(node.target) for node in graph.traced.graph.nodes if node.op == "get_attr"}
    found = {name: _array(graph.traced.constants[name]) for name in sorted(used)}
    for site in quantized.biases:
        node, layer = graph.node(site), graph.layers[graph.sites[site]]
        name = own_bias(graph, node) or f"{layer.attribute}.bias.{site}"
        found[name] = _array(bias_at(quantized, node))
    return found


def _array(tensor: "Tensor | None") -> npt.NDArray[Any]:
    assert tensor is not None
    return np.ascontiguousarray(tensor.detach().cpu().numpy()).reshape(tensor.shape)


def _packed(weight: "QTensor") -> npt.NDArray[Any]:
    """(bytes,): the integers less ``quant_min``, as many bits each as the grid has."""
    grid = weight.qparams
    levels = (weight.integers.int() - grid.quant_min).cpu().numpy().astype(np.uint8).reshape(-1, 1)
    flags = np.unpackbits(levels, axis=1, count=grid.bits, bitorder="little")
    return np.packbits(flags, bitorder="little")


def _grid(name: str, grid: "QParams") -> Arrays:
    found = {f"{name}.scale": _array(grid.scale.float())}
    if not grid.symmetric:
        zero = (grid.zero_point - grid.quant_min).cpu().numpy()
        found[f"{name}.zero_point"] = zero.astype(np.uint8)
    return found


def _described(grid: "QParams") -> dict[str, Any]:
    scheme = "symmetric" if grid.symmetric else "asymmetric"
    slices = "per-channel" if grid.per_channel else "per-tensor"
    return {"bits": grid.bits, "scheme": f"{scheme} {slices}"}
