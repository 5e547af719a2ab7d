"""BatchNorm folding: a normalization behind a convolution or linear layer goes into its weight."""

import torch
from torch import Tensor, fx

from ltqlib.models.layers import PRODUCTS, argument, as_held, channels_first, is_site
from ltqlib.models.trace import Traced

aten = torch.ops.aten


def fold_batchnorm(traced: Traced) -> int:
    """Fold every BatchNorm that alone reads what a layer puts out; returns how many.

    ``w' = w * gamma / sqrt(var + eps)``, ``b' = beta + (b - mean) * gamma / sqrt(var + eps)``,
    computed in float64, so that no prediction changes (Jacob et al., 2018, section 3.2).
    """
    norms = [node for node in traced.graph.nodes if node.target == aten.batch_norm.default]
    folded = [norm for norm in norms if _can_fold(traced, norm)]
    for norm in folded:
        _fold(traced, norm.args[0], norm)
    traced.graph.eliminate_dead_code()
    return len(folded)


def _can_fold(traced: Traced, norm: fx.Node) -> bool:
    layer = norm.args[0]
    assert isinstance(layer, fx.Node)
    if not is_site(traced, layer) or layer.target in PRODUCTS or len(layer.users) > 1:
        return False
    statistics = [argument(norm, name) for name in ("running_mean", "running_var")]
    constant = all(traced.constant(node) is not None for node in statistics)
    along_channels = layer.target != aten.linear.default or layer.meta["val"].ndim == 2
    tied = len(layer.args[1].users) > 1  # type: ignore[union-attr]
    return constant and along_channels and not tied and not argument(norm, "training")


def _fold(traced: Traced, layer: fx.Node, norm: fx.Node) -> None:
    def value(node: fx.Node, name: str, default: float) -> Tensor:
        found = traced.constant(argument(node, name))
        return mean.new_full((), default) if found is None else found.double()

    mean = traced.constant(argument(norm, "running_mean")).double()  # type: ignore[union-attr]
    deviation = torch.sqrt(value(norm, "running_var", 1) + argument(norm, "eps"))
    gain = value(norm, "weight", 1) / deviation
    bias = value(norm, "bias", 0) - mean * gain + value(layer, "bias", 0) * gain
    name = str(layer.args[1].target)  # type: ignore[union-attr]
    weight = channels_first(layer, traced.constants[name])
    scaled = weight.double() * gain.reshape(-1, *[1] * (weight.ndim - 1))
    traced.constants[name] = as_held(layer, scaled).to(weight.dtype)
    stem = name.removesuffix("weight").removesuffix(".").removesuffix("_")
    held = traced.add(f"{stem}.bias".lstrip("."), bias.to(weight.dtype))
    with traced.graph.inserting_before(layer):
        node = traced.graph.get_attr(held)
    layer.args = (*layer.args[:2], node, *layer.args[3:])
    norm.replace_all_uses_with(layer)
