"""A graph cut at its layers: each step is one site of a layer and all nodes up to the next."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx

from ltqlib.engine.fusion import Fusion, find_fusion, halved, halving_pool
from ltqlib.engine.operators import Operator
from ltqlib.models.graph import Graph
from ltqlib.models.layers import sites
from ltqlib.models.probe import Value, live_at

aten = torch.ops.aten
# Normalizations take bfloat16 images with float32 parameters, and are better for it
NORMALIZATIONS = (
    aten.batch_norm.default,
    aten.layer_norm.default,
    aten.group_norm.default,
    aten.native_layer_norm.default,
)

Environment = dict[fx.Node, Any]


@dataclass
class Instruction:
    """A node with its arguments, ready to be looked up."""

    node: fx.Node
    target: Any
    arguments: list[Callable[[Environment], Any]]
    options: dict[str, Callable[[Environment], Any]]
    frees: list[fx.Node] = field(default_factory=list)  # what no later node of the step reads

    def run(self, held: Environment, operator: Operator | None) -> None:
        """Compute, and free what is not read again."""
        arguments = [argument(held) for argument in self.arguments]
        options = {name: option(held) for name, option in self.options.items()}
        held[self.node] = self.target(*arguments, **options)
        for node in self.frees:
            del held[node]

    @property
    def reads(self) -> list[fx.Node]:
        """What it looks up."""
        return [node for node in self.node.all_input_nodes if node.op != "get_attr"]


class SiteInstruction(Instruction):
    """The site of a layer, computed by the operator of a variant with what is fused to it."""

    def __init__(self, fusion: Fusion) -> None:
        super().__init__(fusion.result, None, [], {})
        self.source: Any = fusion.nodes[0].args[0]
        self.other = fusion.other

    def run(self, held: Environment, operator: Operator | None) -> None:
        """Compute, and free what is not read again."""
        assert operator is not None
        other = None if self.other is None else held[self.other]
        held[self.node] = operator(held[self.source], other)
        for node in self.frees:
            del held[node]

    @property
    def reads(self) -> list[fx.Node]:
        """What it looks up."""
        return [self.source] if self.other in (None, self.source) else [self.source, self.other]


@dataclass
class Step:
    """One site of a layer (none at the beginning) and the nodes behind it."""

    site: fx.Node | None
    layer: str  # "" at the beginning
    dtype: torch.dtype  # that the layer computes in
    reads: list[fx.Node]  # what lives on to this step, images along
    keeps: list[fx.Node]  # what lives on behind it
    fusion: Fusion | None = None  # what is computed with the site
    instructions: list[Instruction] = field(default_factory=list)
    sizes: list[fx.Node] = field(default_factory=list)  # numbers that depend on the batch
    row_bytes: int = 0  # of the larger of the site's input and output
    read_bytes: int = 0  # of a row, all of ``reads``
    keep_bytes: int = 0

    def run(
        self, operator: Operator | None, held: Environment, sizes: Mapping[fx.Node, Any]
    ) -> Environment:
        """From ``reads`` of some rows to their ``keeps``; ``held`` is emptied on the way."""
        for node in self.sizes:
            held[node] = sizes[node]
        for instruction in self.instructions:
            instruction.run(held, operator)
        return {node: held[node] for node in self.keeps}


class Program:
    """The steps of a graph, with activations in ``dtype``.

    In bfloat16 the first layer and the last compute in float32: the one reads pixels and the other
    gives the logits, where rounding would be felt most.
    """

    def __init__(self, graph: Graph, dtype: torch.dtype) -> None:
        self.graph, self.dtype = graph, dtype
        self._sizes: dict[int, dict[fx.Node, Any]] = {}
        self._symbolic = [n for n in graph.traced.graph.nodes if _is_size(n)]
        self._constants: dict[tuple[str, torch.dtype], Tensor] = {}
        self.steps = self._steps()

    def sizes(self, rows: int) -> dict[fx.Node, Any]:
        """The graph's numbers that depend on the batch, for ``rows`` images."""
        if rows not in self._sizes:
            images = next(n for n in self.graph.traced.graph.nodes if n.op == "placeholder")
            symbol = images.meta["val"].shape[0].node.expr
            found = {}
            for node in self._symbolic:
                value = node.meta["val"]
                kind = float if isinstance(value, torch.SymFloat) else int
                found[node] = kind(value.node.expr.subs({symbol: rows}))
            self._sizes[rows] = found
        return self._sizes[rows]

    def _steps(self) -> list[Step]:
        nodes = [n for n in self.graph.traced.graph.nodes if n.op == "call_function"]
        starts: list[fx.Node | None] = [None, *sites(self.graph.traced)]
        live = live_at(self.graph.traced)
        images = [n for n in self.graph.traced.graph.nodes if n.op == "placeholder"]
        steps, position = [], 0
        for number, site in enumerate(starts):
            end = nodes.index(starts[number + 1]) if number + 1 < len(starts) else len(nodes)
            inner = [n for n in nodes[position:end] if n is not site and not _is_size(n)]
            position = end
            edge = number in (0, 1, len(starts) - 1)
            step = Step(
                site,
                "" if site is None else self.graph.sites[site.name],
                torch.float32 if edge else self.dtype,
                images if site is None else live[number - 1],
                live[number],
            )
            self._fill(step, inner)
            steps.append(step)
        return steps

    def _fill(self, step: Step, nodes: list[fx.Node]) -> None:
        step.instructions = [self._instruction(node, step) for node in nodes]
        if step.site is not None:
            step.fusion = find_fusion(step.site, nodes, self.graph.values)
            before, after = _around(step.fusion, step.instructions)
            step.instructions = [*before, SiteInstruction(step.fusion), *after]
            step.row_bytes = max(self.bytes(n) for n in (step.site, step.site.args[0]))  # type: ignore[arg-type]
        read = _set_frees(step.instructions, set(step.keeps))
        step.sizes = [node for node in read if _is_size(node)]
        step.read_bytes = sum(self.bytes(node) for node in step.reads)
        step.keep_bytes = sum(self.bytes(node) for node in step.keeps)

    def bytes(self, node: fx.Node) -> int:
        """Bytes that a row of a value takes."""
        value = self.value(node)
        item = self.dtype if value.dtype == torch.float32 else value.dtype
        return value.size * item.itemsize if value.rows is not None else 0

    def value(self, node: fx.Node) -> Value:
        """What is known of a value."""
        return self.graph.values[node]

    def _instruction(self, node: fx.Node, step: Step) -> Instruction:
        dtype = torch.float32 if node.target in NORMALIZATIONS else step.dtype
        arguments = [self._getter(argument, dtype) for argument in node.args]
        options = {name: self._getter(option, dtype) for name, option in node.kwargs.items()}
        target = halved if halving_pool(node) else node.target
        return Instruction(node, target, arguments, options)

    def _getter(self, argument: Any, dtype: torch.dtype) -> Callable[[Environment], Any]:
        if isinstance(argument, fx.Node):
            if argument.op == "get_attr":
                argument = self._constant(str(argument.target), dtype)
                return lambda held: argument
            return lambda held: held[argument]
        if isinstance(argument, (list, tuple)):
            getters = [self._getter(part, dtype) for part in argument]
            if any(isinstance(part, fx.Node) for part in argument):
                return lambda held: [getter(held) for getter in getters]
        return lambda held: argument

    def _constant(self, name: str, dtype: torch.dtype) -> Tensor:
        value = self.graph.traced.constants[name]
        if value.dtype != torch.float32 or dtype == torch.float32:
            return value
        return self._constants.setdefault((name, dtype), value.to(dtype))


def _around(
    fusion: Fusion, instructions: list[Instruction]
) -> tuple[list[Instruction], list[Instruction]]:
    """Those that what is added to the site waits for, and those that may follow."""
    needed = set() if fusion.other is None else {fusion.other}
    before, after = list[Instruction](), list[Instruction]()
    for instruction in reversed(instructions):
        if instruction.node in needed:
            needed |= set(instruction.reads)
            before.append(instruction)
        elif instruction.node not in fusion.nodes:
            after.append(instruction)
    return before[::-1], after[::-1]


def _set_frees(instructions: list[Instruction], kept: set[fx.Node]) -> set[fx.Node]:
    """Let every value go behind the last that reads it; returns all that is read."""
    seen = set[fx.Node]()
    for instruction in reversed(instructions):
        passing = [n for n in (*instruction.reads, instruction.node) if n not in seen | kept]
        instruction.frees = [node for node in passing if not _is_size(node)]
        seen |= {*instruction.reads, instruction.node}
    return seen


def _is_size(node: fx.Node) -> bool:
    kinds = (torch.SymInt, torch.SymFloat, torch.SymBool)
    return node.op == "call_function" and isinstance(node.meta.get("val"), kinds)
