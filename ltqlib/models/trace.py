"""From a module to its graph: ``torch.export`` with a batch of any size, constants evaluated.

What comes out is a ``torch.fx.Graph`` of torch's operators without in-place ones. Whatever does not
depend on the images (parameters, and what is computed from them alone, such as a weight under a
parametrization or a relative position bias) is a constant in it.
"""

import copy
import io
import logging
import operator
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from ltqlib.errors import InputError

aten = torch.ops.aten
# Operators that assume contiguous memory, or more than one image, and what they are replaced by
RESHAPES = (aten.view.default, aten._unsafe_view.default)
NORMS = (aten._native_batch_norm_legit_no_training.default, aten._native_batch_norm_legit.no_stats)


@dataclass
class Traced:
    """A graph with its constants.

    ``graph`` has one placeholder (the images), one ``get_attr`` node a constant, and one output.
    """

    graph: fx.Graph
    constants: dict[str, Tensor]
    sources: dict[str, tuple[str, ...]]  # constant -> the parameters that it is made from

    def constant(self, node: object) -> Tensor | None:
        """The value of a node that is a constant, else None."""
        if isinstance(node, fx.Node) and node.op == "get_attr":
            return self.constants[str(node.target)]
        return None

    def add(self, name: str, value: Tensor, sources: tuple[str, ...] = ()) -> str:
        """Keep a constant under ``name``, or a name like it that is free."""
        while any(f"{name}.".startswith(f"{k}.") or k.startswith(f"{name}.") for k in self.sources):
            name += "_"
        self.constants[name], self.sources[name] = value, sources
        return name


def trace(module: nn.Module, example: Tensor) -> Traced:
    """The graph of a copy of ``module`` in eval mode, its constants on the example's device.

    It is traced on the CPU: of a module on a graphics card torch.export says that the batch has to
    be of one size.

    Args:
        example: images as the module takes them, (B, ...).
    """
    program = _export(copy.deepcopy(module).cpu().eval(), example.cpu(), module._get_name())
    traced = _Copy(program, module).run()
    traced.constants = {name: value.to(example.device) for name, value in traced.constants.items()}
    return traced


def _export(module: nn.Module, example: Tensor, name: str) -> torch.export.ExportedProgram:
    batch = torch.export.Dim("batch", min=2)
    fast_attention = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # one operator without visible projections
    try:
        with torch.no_grad(), _silence():
            program = torch.export.export(module, (example,), dynamic_shapes=({0: batch},))
            return program.run_decompositions({})
    except Exception as error:  # torch.export raises many kinds
        reason = next((line for line in str(error).splitlines() if line.strip()), "no reason given")
        raise InputError(
            f"{name} cannot be traced by torch.export with a batch of any size: {reason.strip()}"
        ) from error
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_attention)


@contextmanager
def _silence() -> Iterator[None]:
    """torch.export logs and prints the whole program where it fails; one line says it."""
    before, nowhere = logging.root.manager.disable, io.StringIO()
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(nowhere), redirect_stderr(nowhere):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


class _Copy:
    """Copies an exported program node by node, evaluating what is constant on the way."""

    def __init__(self, program: torch.export.ExportedProgram, module: nn.Module) -> None:
        self.program, self.name = program, type(module).__name__
        self.traced = Traced(fx.Graph(), {}, {})
        self.known: dict[fx.Node, Any] = {}  # nodes that are constant, and their values
        self.origin: dict[fx.Node, tuple[str, ...]] = {}  # the parameters they are made from
        self.new: dict[fx.Node, fx.Node] = {}  # nodes of the new graph, of the constants as well

    def run(self) -> Traced:
        self._inputs()
        for node in self.program.graph.nodes:
            if node.op == "call_function":
                self._call(node)
            elif node.op == "get_attr":
                raise InputError(
                    f"{self.name} has control flow inside its graph ({node.target}), which cannot "
                    f"be traced: write the forward pass without it"
                )
        self.traced.graph.output(self._node(self._logits()))
        self.traced.graph.eliminate_dead_code()
        _getitem_first(self.traced.graph)
        self.traced.graph.lint()
        return self.traced

    def _inputs(self) -> None:
        signature, held = self.program.graph_signature, self.program.constants
        values = {**held, **self.program.state_dict}
        nodes = {node.name: node for node in self.program.graph.nodes}
        shared: dict[tuple[Any, ...], fx.Node] = {}  # tied parameters are one constant
        for spec in signature.input_specs:
            node = nodes[spec.arg.name]
            if spec.target is None:
                self.new[node] = self.traced.graph.placeholder("images")
                self.new[node].meta = dict(node.meta)
                continue
            value = values[spec.target].detach()
            key = (value.data_ptr(), value.shape, value.stride())
            first = shared.setdefault(key, node) if value.numel() else node
            parameter = spec.kind == torch.export.graph_signature.InputKind.PARAMETER
            self.known[node] = value
            self.origin[node] = self.origin.get(first, (spec.target,) if parameter else ())
            if first is not node:
                self.new[node] = self._node(first)

    def _call(self, node: fx.Node) -> None:
        target: Any = node.target
        if str(target).startswith(("aten._assert", "aten.sym_constrain")):
            return
        inputs = node.all_input_nodes
        seeded = torch.Tag.nondeterministic_seeded in getattr(target, "tags", ())
        if not seeded and all(source in self.known for source in inputs):
            with torch.no_grad():
                self.known[node] = target(*self._values(node.args), **self._values(node.kwargs))
            names = [name for source in inputs for name in self.origin[source]]
            self.origin[node] = tuple(dict.fromkeys(names))
            return
        new = self.traced.graph.node_copy(node, self._node)
        _rewrite(new)
        self.new[node] = new

    def _values(self, arguments: Any) -> Any:
        return fx.map_arg(arguments, lambda node: self.known[node])

    def _node(self, node: fx.Node) -> fx.Node:
        """The node of the new graph; of a constant made on first use."""
        if node not in self.new:
            direct = node.op == "placeholder"
            name = self.program.graph_signature.inputs_to_parameters.get(node.name, node.name)
            if not direct or name == node.name:
                name = f"constants.{node.name}"
            name = self.traced.add(name, self.known[node], self.origin[node])
            self.new[node] = self.traced.graph.get_attr(name)
        return self.new[node]

    def _logits(self) -> fx.Node:
        results = self.program.graph.output_node().args[0]
        kind = torch.export.graph_signature.OutputKind.USER_OUTPUT
        specs = self.program.graph_signature.output_specs
        assert isinstance(results, (tuple, list))
        found = [r for r, spec in zip(results, specs, strict=True) if spec.kind == kind]
        shape = found[0].meta["val"].shape if len(found) == 1 else ()
        if len(shape) != 2 or found[0] in self.known:
            raise InputError(
                f"{self.name} returns {len(found)} tensors, the first of {len(shape)} dimensions: "
                f"wrap it in a module that returns the logits (images, classes) alone"
            )
        return found[0]


def _rewrite(node: fx.Node) -> None:
    """Operators that hold for any memory format and any number of images."""
    if node.target in RESHAPES:
        node.target = aten.reshape.default
    elif node.target == aten.squeeze.default:
        shape = node.args[0].meta["val"].shape  # type: ignore[union-attr]
        ones = [d for d, size in enumerate(shape) if isinstance(size, int) and size == 1]
        node.target, node.args = aten.squeeze.dims, (node.args[0], ones)
    elif node.target == operator.getitem:
        _without_tuple(node)


def _without_tuple(node: fx.Node) -> None:
    """A BatchNorm's result without the statistics that come with it."""
    norm: Any = node.args[0]
    if norm.target in NORMS:
        x, weight, bias, *rest = norm.args
        mean, var = rest[:2] if norm.target == NORMS[0] else (None, None)
        momentum, epsilon = rest[-2:]
        node.target = aten.batch_norm.default
        node.args = (x, weight, bias, mean, var, mean is None, momentum, epsilon, False)


def _getitem_first(graph: fx.Graph) -> None:
    """Move every part of a tuple right behind the tuple, so that no tuple lives on."""
    for node in list(graph.nodes):
        if node.target == operator.getitem:
            node.args[0].append(node)
