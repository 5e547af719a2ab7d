"""Networks, and the graph: any torch classifier as named quantizable layers with costs."""

from ltqlib.models.checkpoints import (
    Head,
    load_checkpoint,
    load_heads,
    read_tensors,
    round_to_float16,
    save_checkpoint,
    with_head,
    write_tensors,
)
from ltqlib.models.graph import Graph, graph_of
from ltqlib.models.layers import Layer
from ltqlib.models.networks import Network, build, layer_names

__all__ = [
    "Graph",
    "Head",
    "Layer",
    "Network",
    "build",
    "graph_of",
    "layer_names",
    "load_checkpoint",
    "load_heads",
    "read_tensors",
    "round_to_float16",
    "save_checkpoint",
    "with_head",
    "write_tensors",
]
