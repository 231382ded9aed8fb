"""Who reads a constant, and as what; what a recipe says of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import reduce

from octolite.ir.graph import Graph, Model, Node, Value, callees_first
from octolite.ir.types import FLOAT32, INT4, INT8, INT32
from octolite.ops.base import Operator
from octolite.ops.custom import UserOperator
from octolite.quantize.recipe import Compute, Recipe, Rule, Treatment


@dataclass(frozen=True, slots=True)
class Use:
    """An input of a node."""

    node: Node
    index: int


class Way(Enum):
    """How a use gets at a weight that is stored as codes."""

    CODES = auto()
    """As they are."""
    MOVES = auto()
    """As they are, with a DEQUANTIZE behind."""
    REAL = auto()
    """Through a DEQUANTIZE in front."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What one use asks of a quantized constant.

    ``keep`` is a reason why it must stay float, or empty; ``hybrid``: takes the codes as they
    are, with scales along ``axis``, a ``single`` one, and codes of 4 bits where ``narrow``;
    ``moves``: only moves codes, DEQUANTIZE may come behind.
    """

    axis: int | None = None
    keep: str = ""
    hybrid: bool = False
    single: bool = False
    narrow: bool = False
    moves: bool = False

    def way(self, axis: int | None) -> Way:
        """How codes with scales along ``axis`` get there, in a model that computes with codes."""
        if self.hybrid and (axis == self.axis or (axis is None and self.single)):
            return Way.CODES
        return Way.MOVES if self.moves and axis is None else Way.REAL


@dataclass(frozen=True, slots=True)
class Readers:
    """A constant, all its uses in the order of the nodes, and what is to become of it."""

    graph: Graph
    value: Value
    uses: list[Use]
    treatment: Treatment

    @property
    def operators(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(use.node.op.name for use in self.uses))


def readers_of(model: Model, recipe: Recipe) -> tuple[list[Readers], list[Rule]]:
    """Each constant of ``model`` once, with who reads it; and the rules that none fits."""
    unused = list(recipe.rules)
    found: list[Readers] = []
    keys = _signatures(model)
    for graph in model.graphs:
        uses: dict[int, list[Use]] = {id(v): [] for v in graph.constants()}
        for node in graph.nodes:
            for index, value in enumerate(node.inputs):
                if value is not None and value.is_constant:
                    uses[id(value)].append(Use(node, index))
        for value in graph.constants():
            met = [
                rule
                for rule in recipe.rules
                if _holds(rule, value, uses[id(value)], keys[id(graph)])
            ]
            unused = [rule for rule in unused if rule not in met]
            treatment = reduce(lambda t, rule: t.changed(rule.changes), met, recipe.treatment)
            found.append(Readers(graph, value, uses[id(value)], treatment))
    return found, unused


def _signatures(model: Model) -> dict[int, list[str]]:
    """The keys of the signatures that run each graph, by the graph's id."""
    keys: dict[int, list[str]] = {id(graph): [] for graph in model.graphs}
    for signature in model.signatures:
        for graph in callees_first([signature.graph]):
            keys[id(graph)].append(signature.key)
    return keys


def _holds(rule: Rule, value: Value, uses: Iterable[Use], signatures: Sequence[str]) -> bool:
    return any(
        rule.holds(
            node.op.name, (value.name, node.name, *(v.name for v in node.outputs)), signatures
        )
        for node in (use.node for use in uses)
    )


@dataclass(frozen=True, slots=True)
class Joint:
    """Operators that take codes for all of their weights at once, the small ones too.

    ``nodes`` and ``weights`` hold the ids of those that can, and of their weights.
    """

    nodes: frozenset[int] = frozenset()
    weights: frozenset[int] = frozenset()

    @classmethod
    def of(cls, work: Sequence[Readers]) -> Joint:
        """Those with at least one weight that is large, and none that must stay as it is."""
        fit = {id(r.value): r.treatment for r in work if _fits_anywhere(r)}
        nodes: set[int] = set()
        weights: set[int] = set()
        for node in {id(use.node): use.node for r in work for use in r.uses}.values():
            assert isinstance(node.op, Operator)
            found = _weights_of(node) if node.op.quant.together else []
            large = any(
                id(v) in fit and v.data is not None and large_enough(v.data.size, fit[id(v)])
                for v in found
            )
            if large and all(id(v) in fit for v in found):
                nodes.add(id(node))
                weights.update(map(id, found))
        return cls(frozenset(nodes), frozenset(weights))


def large_enough(elements: int, treatment: Treatment) -> bool:
    """Whether a weight of so many elements is worth it."""
    return elements >= max(1, treatment.min_elements)


def _weights_of(node: Node) -> list[Value]:
    assert isinstance(node.op, Operator)
    inputs = zip(node.op.input_parameters(), node.inputs, strict=False)
    return [v for p, v in inputs if p.name in node.op.quant.weights and v is not None]


def _fits_anywhere(readers: Readers) -> bool:
    """Whether a constant may be stored as codes for hybrid operators, whatever its size."""
    value, treatment = readers.value, readers.treatment
    if treatment.weights not in (INT8, INT4) or treatment.compute is Compute.FLOAT:
        return False
    plain = value.dtype is FLOAT32 and value.quant is None and not readers.graph.is_output(value)
    return plain and not any(demand(value, use, Joint()).keep for use in readers.uses)


def demand(value: Value, use: Use, joint: Joint) -> Demand:
    """What ``use`` asks of ``value``."""
    op, inputs = use.node.op, use.node.inputs
    assert isinstance(op, Operator)
    if op.custom or isinstance(op, UserOperator):
        return Demand(keep=f"input of {op.name}")
    parameters = op.input_parameters()
    name = parameters[min(use.index, len(parameters) - 1)].name
    if name in op.quant.weights:
        # Beside float activations, or beside the ids of a lookup.
        beside = None if inputs[0] is None else inputs[0].dtype
        hybrid = op.quant.hybrid and beside in (FLOAT32, INT32)
        hybrid = hybrid and (not op.quant.together or id(use.node) in joint.nodes)
        rows = math.prod(extent or 0 for extent in (value.shape or ())[1:])
        narrow = op.quant.narrow == "any" or (op.quant.narrow == "whole bytes" and rows % 2 == 0)
        return Demand(op.quant.weights[name], "", hybrid, op.quant.single_scale, narrow)
    if op.quant.weights:
        return Demand(keep=f"{name} of {op.name}")
    if sum(extent != 1 for extent in value.shape or ()) < 2:
        return Demand(keep="a vector, no matrix")
    others = [v for i, v in enumerate(inputs) if i != use.index and v is not None]
    results = use.node.outputs
    return Demand(
        moves=op.quant.same_scale
        and all(v.dtype is not FLOAT32 for v in others)
        and all(v.dtype is FLOAT32 for v in results)
    )
