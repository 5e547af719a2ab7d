"""The sites of a layer: where its weight acts in a graph, and what goes out there."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor, fx, nn

from ltqlib.models.layers import PRODUCTS, argument, as_held

if TYPE_CHECKING:
    from ltqlib.models.graph import Graph


def apply_site(site: fx.Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """What a layer's operator makes of another input, weight and bias.

    Args:
        site: the node of the graph; stride, padding and groups are its own.
        x: (B, ...), as it comes in there.
        weight: (C, C_in / groups, ...), C any multiple of the groups.
        bias: (C,) or None.
    """
    target: Any = site.target
    if target in PRODUCTS:
        return target(x, as_held(site, weight))
    return target(x, as_held(site, weight), bias, *site.args[3:])


def behind_sites(module: fx.GraphModule, after: Mapping[str, nn.Module]) -> fx.GraphModule:
    """The module, changed in place: what a site of a layer returns goes through ``after[site]``."""
    nodes = {node.name: node for node in module.graph.nodes}
    for number, (site, change) in enumerate(after.items()):
        module.add_submodule(f"outputs_{number}", change)
        users = list(nodes[site].users)
        with module.graph.inserting_after(nodes[site]):
            changed = module.graph.call_module(f"outputs_{number}", (nodes[site],))
        for user in users:
            user.replace_input_with(nodes[site], changed)
    module.recompile()
    return module


def bias_of(graph: "Graph", site: fx.Node) -> Tensor | None:
    """The bias (C_out,) at a site, if it has one."""
    return graph.traced.constant(argument(site, "bias"))


def own_bias(graph: "Graph", site: fx.Node) -> str | None:
    """The constant that is the bias of this site and nothing else; None if there is none."""
    bias = argument(site, "bias")
    return str(bias.target) if bias is not None and len(bias.users) == 1 else None


def channel_dim(graph: "Graph", site: str) -> int:
    """The dimension of a site's output that the layer's output channels run along."""
    return -1 if graph.layers[graph.sites[site]].kind == "linear" else 1


def by_image(graph: "Graph", site: fx.Node, y: Tensor) -> Tensor:
    """The output of a site, image by image, (B, values): heads and windows may be in its batch."""
    rows = graph.values[site].rows
    assert rows is not None, f"what leaves {site} is the same for all images"
    apart = y.unflatten(rows.axis, (rows.outer, -1, rows.inner))
    return apart.movedim(rows.axis + 1, 0).flatten(1)
